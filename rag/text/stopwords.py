"""The words that a question holds whatever it is about, by language (ISO 639-1).

They are articles, pronouns, prepositions, conjunctions, auxiliaries and question words. The lists
are short, since BM25 gives little weight to what every passage holds. Words are left out that mean
something in another of these languages, or have a second sense in their own (`will`, `may`, the
German `war`).
"""

from __future__ import annotations

from rag.text.languages.english import SEARCH_STOP_WORDS

_LISTS = {
    "de": """
        ab aber alle allem allen aller alles als also am an ander andere anderem anderen anderer
        anderes auch auf aus bei beim bin bis bist da dadurch daher damit dann daran darauf daraus
        darin darüber das dass dazu dein deine deinem deinen deiner dem den denn der deren des
        dessen dich die dies diese diesem diesen dieser dieses dir doch dort du durch ein eine einem
        einen einer eines er es etwas euch euer eure für gegen hab habe haben hast hat hatte hatten
        hier hinter ich ihm ihn ihnen ihr ihre ihrem ihren ihrer ihres im in indem ins ist jede
        jedem jeden jeder jedes jene jenem jenen jener kann kannst können könnte machen man mein
        meine meinem meinen meiner mich mir mit muss müssen nach nicht nichts noch nur ob oder ohne
        sehr sein seine seinem seinen seiner seit sich sie sind so solche soll sollen sollte sondern
        über um und uns unser unsere unter viel viele vom von vor während wann waren warum was weil
        welche welchem welchen welcher welches wem wen wenn wer werde werden weshalb wessen wie
        wieso wir wird wo wobei wodurch wofür woher wohin wollte womit worden worin worüber wurde
        würde wurden würden zu zum zur zwischen
    """,
    "fr": """
        à afin ai ainsi alors as au aucun aucune aussi autre autres aux avaient avait avant avec
        avez avoir avons ayant c ce ceci cela celle celles celui ces cet cette ceux chaque chez ci
        combien comme comment d dans de depuis des donc dont du elle elles en entre es est et
        étaient était étant été êtes être eu eux faire fait font fut ici il ils j je jusqu l la là
        laquelle le lequel les lesquelles lesquels leur leurs lors lorsque lui m ma mais me même mes
        moi mon n ne ni nos notre nous on ont ou où par parce pas pendant peut peuvent plus pour
        pourquoi puis qu quand que quel quelle quelles quels quelque quelques qui quoi s sa sans se
        sera seront ses si soit son sont sous sur t ta tandis te tes toi ton tous tout toute toutes
        très tu un une vers vos votre vous y
    """,
    "es": """
        a al algo alguna algunas alguno algunos ante antes aquel aquella aquellas aquellos aquello
        aunque cada como cómo con cual cuál cuales cuáles cualquier cuando cuándo cuanta cuánta
        cuánto cuantos cuántos cuántas de del desde donde dónde durante e el él ella ellas ello
        ellos en entre era eran es esa esas ese eso esos esta está están estas este esto estos fue
        fueron ha había habían haber hace hacia han hasta hay la las le les lo los más me mi mí mis
        mientras muy nada ni no nos nosotros nuestra nuestras nuestro nuestros o os otra otras otro
        otros para pero poco por porque pues que qué quien quién quienes quiénes se sea ser será si
        sí sido sin sobre son su sus tal también tampoco tan tanto te tiene tienen toda todas todo
        todos tras tu tú tus un una unas uno unos usted ustedes vosotros y ya yo
    """,
    "it": """
        a abbia agli ai al alcuna alcune alcuni all alla alle allo altra altre altri altro anche
        ancora aveva avevano che chi ci ciò coi col come con contro cosa cui da dagli dai dal dall
        dalla dalle dallo degli dei del dell della delle dello dentro di dopo dove dunque e è ed era
        erano essere fa fino fra fu furono gli ha hanno ho i il in io l la le lei li lo loro lui ma
        me mi mia mie miei mio molto ne negli nei nel nell nella nelle nello no noi non nostra
        nostre nostri nostro o ogni oppure per perché più poi può qual quale quali quando quanta
        quante quanti quanto quella quelle quelli quello questa queste questi questo qui quindi sarà
        se sei senza si sia siamo siete sono stata state stati stato su sua sue sugli sui sul sull
        sulla sulle sullo suo suoi tra tu tua tue tuo tuoi tutta tutte tutti tutto un una uno vi voi
        vostra vostre vostri vostro
    """,
    "pt": """
        a à ainda algum alguma algumas alguns ao aos aquela aquelas aquele aqueles aquilo as às até
        cada com como contra cuja cujas cujo cujos da das de dela delas dele deles depois desde
        dessa desse desta deste do dos durante e é ela elas ele eles em entre era eram essa essas
        esse esses esta está estão estas este estes eu foi foram há isso isto já lhe lhes mais mas
        me mesmo meu meus minha minhas muito na não nas nem nessa nesse nesta neste no nos nós nossa
        nossas nosso nossos num numa o onde os ou outra outras outro outros para pela pelas pelo
        pelos pode podem por porque porquê quais qual qualquer quando quanta quantas quanto quantos
        que quê quem são se seja sem ser será seu seus sobre sua suas também tão te tem têm ter teu
        tinha toda todas todo todos tu tua um uma umas uns você vocês
    """,
    "nl": """
        aan al alle alles als ander andere ben bent bij dan dat de der deze die dit doen door dus
        een elk elke en er geen had hadden heb hebben hebt heeft hem het hier hij hoe hoeveel hun ik
        in is ja je jij jou jouw jullie kan kunnen maar me meer men met mij mijn moet moeten na naar
        niet niets nog nu of om omdat onder ons onze ook op over s t te tegen toch toen tot tussen u
        uit uw van veel voor waar waarom wanneer waren wat welk welke wie wij worden wordt ze zei
        zelf zich zij zijn zo zonder zou zullen
    """,
    "ru": """
        а без более бы был была были было быть в вам вас ведь весь во вот все всего всех всё вы где
        да даже для до его ее если есть еще ещё её же за здесь и из или им их к как какая какие
        каким какими каких каков какова какого какое какой каком какую когда кого кому которая
        которого которое которой котором которые который которых кто ли лишь между меня мне много
        может мой моя мы на над надо нам нас не него нее нет неё ни них но ну о об один однако он
        она они оно от очень по под после потому почему при про с сам свои свой своя себя сколько со
        так такая такие такой там те тем то того тоже только том тот ты у уже чего чей чем чему что
        чтобы чья чём эта эти это этого этой этом этот я
    """,
    "sv": """
        alla allt att av bara blev bli blir de dem den denna deras dess dessa det detta dig din dina
        ditt du där efter ej eller en er era ett från för genom ha hade han hans har henne hennes
        hon honom hur här i icke in inte jag ju kan kunde man med mellan men mig min mina mitt mot
        mycket ni nu när någon något några och om oss på samma sedan sig sin sina sitt ska skulle
        som så sådan till under upp ut utan vad var vara varför varit varje vars vart vem vi vid
        vilka vilkas vilken vilket vår våra vårt än är åt över
    """,
    "da": """
        af alle alt anden andet andre at blev blive bliver da de dem den denne der deres det dette
        dig din dine disse dit dog du efter eller en end er et for fra få ham han hans har havde
        have hendes her hos hun hvad hvem hver hvilke hvilken hvilket hvis hvor hvordan hvorfor
        hvornår i ikke ind jeg jer kan kunne man mange med meget mellem men mig min mine mit mod ned
        noget nogle nogen nu når og også om op os over på selv sig sin sine sit skal skulle som
        sådan til ud under var vi ved vil ville vor være været
    """,
    "no": """
        alle alt andre at av bare ble bli blir da de dem den denne der deres det dette din disse du
        eller en er et etter for fra før ha hadde han hans har henne hennes her hos hun hva hvem
        hver hvilke hvilken hvilket hvis hvor hvordan hvorfor i ikke inn jeg kan kunne man mange med
        meg meget mellom men min mitt mot mye ned noe noen nå når og også om opp oss over på seg
        selv sin sine sitt skal skulle slik som så til under ut var ved vi vil ville vår være vært å
    """,
    "pl": """
        a aby ale albo ani bardzo bez bo by był była było były być ci co czy czyli dla dlaczego do
        gdy gdzie go i ich ile im inne inny ja jak jaka jaki jakie jako je jego jej jest jestem
        jeśli jeżeli już każdy każda kiedy kto która które którego której który którzy których lub
        ma mają mi mnie może można my na nad nam nas nie niż o od on ona one oni ono oraz po pod
        ponieważ przed przez przy są się skąd także tak tam te tego tej ten też to tu tych tylko tym
        u w we więc wszystkie z za ze że
    """,
    "ar": """
        ألا أم أما أن أنا أنت أو أي أين إذا إلى إن التي الذي الذين اللتان اللذان بعد بل به بها بين
        تلك تم ثم حتى حيث دون ذلك سوف على عليه عن عند عندما غير في فيه فيها قبل قد كان كانت كل كم
        كما كيف لأن لا لكن لم لماذا لن له لها ليس ليست ما ماذا متى مع من منه منها مهما نحن هؤلاء هذا
        هذه هل هم هنا هناك هو هي و يا
    """,
    "hi": """
        अपना अपनी अपने आप इन इस इसका इसकी इसके इसमें इसे उन उनका उनकी उनके उनको उन्हें उस उसका उसकी
        उसके उसे एक एवं ऐसा ऐसे और कब कर करता करते करना करने कहाँ कहां का कि किए कितना कितनी कितने
        किन किया किस किसका किसकी किसके किसने किसी किसे की कुछ के कैसा कैसे को कोई कौन कौनसा क्या
        क्यों गई गए गया जब जहाँ जहां जा जाता जाती जाते जिन जिस जिसका जिसकी जिसके जिसे जो तक तब तो था
        थी थे दिया द्वारा न नहीं ने पर पे फिर भी मुझे में मैं यदि यह यहाँ यहां या ये लिए वह वहाँ
        वहां वाला वाली वाले वे सबसे सभी सा साथ सी से हम ही हुआ हुई हुए हूँ है हैं हो होता होती होते
        होना होने
    """,
}

STOP_WORDS = {"en": SEARCH_STOP_WORDS} | {
    language: frozenset(words.split()) for language, words in _LISTS.items()
}
