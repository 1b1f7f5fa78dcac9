"""What is asked: questions, filters, claims, and files of questions with their answers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from random import Random

from fuzzers import made, mutation
from fuzzers.attempts import FINE, REFUSED, Target, check_spans, together
from fuzzers.indexes import TextsTarget


class Queries(TextsTarget):
    """Questions with filters and numbers of passages, as JSON; the shell may give any bytes."""

    name = "queries"

    def seeds(self) -> Iterator[bytes]:
        for question, where, k in (
            (made.QUESTION, "", "3"),
            ('"Vorn bridge" -ferry "six times"', "title~vorn", "1"),
            ("Wie lang ist die Brücke?", "type:md after:2020-01-01", "50"),
            ("brigde opned", "not source:*.csv or meta.language:en", "7"),
            ("ferry OR (bridge AND toll)", "size>10", "2"),
        ):
            yield mutation.to_json({"question": question, "where": where, "k": k})

    def mutate(self, data: bytes, random: Random) -> bytes:
        asked = json.loads(data)
        key = random.choice((*("question",) * 6, "where", "where", "k"))
        if key == "k":
            asked[key] = str(random.choice((*mutation.NUMBERS, *mutation.FLOATS, *mutation.TEXTS)))
        else:
            asked[key] = mutation.change_text(asked[key], random)
        return mutation.to_json(asked)

    def run(self, data: bytes) -> str:
        asked = {
            key: os.fsdecode(value.encode("utf-8", "surrogatepass").replace(b"\0", b""))
            for key, value in json.loads(data).items()
        }
        outcomes = []
        for command in ("search", "ask"):
            ran = self.command(
                *(command, "--json", f"--where={asked['where']}", f"-k{asked['k']}", "--"),
                asked["question"],
            )
            outcomes.append(ran.outcome)
            check_spans(ran.data if ran.outcome == FINE else None, self._texts)
        typed = asked["question"].encode("utf-8", "surrogateescape")
        outcomes.append(self.command("search", typed=typed).outcome)
        return together(outcomes)


class Claims(TextsTarget):
    """Claims, and files of claims."""

    name = "claims"
    plain = True

    def seeds(self) -> Iterator[bytes]:
        yield b"The Vorn bridge was opened in 1921."
        yield b"It was built by Ada Lindqvist.\nThe toll was 5 \xc3\xb6re in 1921.\n"
        yield b'{"id": "a", "claim": "The ferry carried 30 people."}\n{"id": "b", "claim": "No."}\n'

    def run(self, data: bytes) -> str:
        file = self.folder / "claims.txt"
        file.write_bytes(data)
        named = self.folder / "claims.jsonl"
        named.write_bytes(data)
        claim = os.fsdecode(data.replace(b"\0", b"")[:2000])
        ran = self.command("check", "--json", "--", claim)
        outcomes = [ran.outcome]
        check_spans(ran.data if ran.outcome == FINE else None, self._texts)
        outcomes += [self.command("check", "--file", each).outcome for each in (file, named)]
        return together(outcomes)


class QuestionFiles(TextsTarget):
    """Files of questions for `rag eval`: a CSV, and BEIR's questions with qrels."""

    name = "question-files"

    def seeds(self) -> Iterator[bytes]:
        yield mutation.to_json(
            {
                "set.csv": "question,source,answer\nWhen was the bridge opened?,bridge.md,1921\n"
                "Who built it?,bridge.md:0-40,Ada Lindqvist\nWhat is missing?,,\n",
                "queries.jsonl": '{"_id": "1", "text": "When was the bridge opened?"}\n'
                '{"_id": "2", "text": "Who ferried?", "answers": ["x"]}\n',
                "qrels.tsv": "query-id\tcorpus-id\tscore\n1\tbridge.md\t1\n2\tferry.txt\t2\n",
                "run": "1 Q0 bridge.md 1 0.9 x\n2 Q0 ferry.txt 1 0.5 x\n",
            }
        )

    def mutate(self, data: bytes, random: Random) -> bytes:
        files = json.loads(data)
        name = random.choice(list(files))
        if name == "queries.jsonl" and random.random() < 0.5:
            lines = files[name].splitlines()
            at = random.randrange(len(lines)) if lines else 0
            try:
                value = mutation.change_value(json.loads(lines[at]), random)
                lines[at] = json.dumps(value)
                files[name] = "\n".join(lines)
            except (ValueError, IndexError):
                files[name] = mutation.change_text(files[name], random)
        else:
            files[name] = mutation.change_text(files[name], random)
        return mutation.to_json(files)

    def run(self, data: bytes) -> str:
        folder = self.unpack("questions", data)
        outcomes = []
        for arguments in (
            (folder,),
            (folder / "set.csv",),
            (folder, "--from-run", folder / "run"),
            (folder / "set.csv", "--answers"),
        ):
            outcomes.append(self.command("eval", *arguments, "--json").outcome)
        return together(outcomes)


class Filters(Target):
    """Filters alone, parsed some thousand times a second."""

    name = "filters"
    plain = True

    def seeds(self) -> Iterator[bytes]:
        for text in (
            "type:pdf after:2024",
            "not (title~vorn or source:*.md) and size>=10",
            "meta.author:'A \"B\"' meta.year<2000 modified:2024-02-29",
            '{"all": [{"field": "type", "is": "md"}]}',
        ):
            yield text.encode()

    def run(self, data: bytes) -> str:
        from rag.errors import RagError
        from rag.query import parse_question
        from rag.query.filters import parse_filter

        text = data.decode("utf-8", "surrogateescape")
        try:
            parse_question(text)
            parse_filter(text)
        except RagError:
            return REFUSED
        return FINE
