"""Read pictures by the ONNX models of the package rapidocr (PP-OCR; Du et al., 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from rag.sources.ocr.picture import OcrError, Picture, Word


class Rapid:
    """The models, opened when the first picture is read; one set reads Latin and Chinese."""

    name = "rapidocr"

    @cached_property
    def _models(self) -> Any:
        from rapidocr import RapidOCR

        # More threads take address space, of which a reader has little.
        return RapidOCR(
            params={
                "Global.log_level": "critical",
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def recognize(self, picture: Picture, languages: Sequence[str]) -> list[Word]:
        """Return the words of a picture from the top to the foot.

        Raises:
            OcrError: if the package is not installed, or its models fail.
        """
        import numpy as np

        grey = np.frombuffer(picture.pixels, np.uint8).reshape(picture.height, picture.width)
        try:
            found = self._models(np.stack([grey] * 3, axis=-1), return_word_box=True)
        except ImportError as error:
            raise OcrError("needs `pip install 'checkable-rag[ocr]'`") from error
        # Models and OpenCV raise whatever they like, over one page.
        except Exception as error:
            raise OcrError("cannot be read by the models of rapidocr: try `tesseract`") from error
        words: list[Word] = []
        for line, pieces in enumerate(found.word_results or ()):
            corners = [corner for _, _, box in pieces for corner in box or ()]
            if not corners:
                continue
            top, bottom = min(y for _, y in corners), max(y for _, y in corners)
            for text, confidence, box in pieces:
                if not str(text).strip() or not box:
                    continue
                across, down = [float(x) for x, _ in box], [float(y) for _, y in box]
                words.append(
                    Word(
                        str(text).strip(),
                        *(min(across), min(down), max(across), max(down)),
                        min(1.0, float(confidence)),
                        line,
                        float(top),
                        float(bottom),
                    )
                )
        return words
