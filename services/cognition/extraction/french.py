"""How facts are stated in French. Each rule has its counterpart in ``english.py``. Pure."""

from __future__ import annotations

from services.cognition.extraction.french_words import (
    ANIMAL,
    AT,
    BE,
    CONDITION,
    DATE,
    DIET,
    EVENT,
    HAVE,
    JOB,
    LANGUAGES,
    LIST,
    MARRIED,
    MINE,
    NAMED,
    NOT,
    OFTEN,
    OWNED,
    PARTICLE,
    REL,
    SPORT,
    THING,
    WAS,
    WHEN,
    WHO,
    V,
)
from services.cognition.extraction.patterns import (
    END_FR,
    NAME,
    PROPER,
    Rule,
    is_detail,
    is_liking,
    is_place,
    is_workplace,
    rule,
)

RULES: tuple[Rule, ...] = (
    # where somebody lives
    rule(
        "residence",
        rf"{WHO}(?:habite|habitons|vis|vit|vivons|réside|loge){OFTEN} (?:dans une? [\w' -]+? )?{AT} {V}",
        check=is_place,
        dated=True,
    ),
    rule(
        "residence",
        rf"{HAVE}{OFTEN} (?:déménagé|emménagé)(?: de [\w-]+)? (?:à|au|aux|en|près de|pour) {V}",
        check=is_place,
        dated=True,
    ),
    rule(
        "residence",
        rf"(?:{WAS}{OFTEN} installée?s?|\bje viens (?:de m'installer|d'emménager|de déménager)) (?:à|au|aux|en|près de) {V}",
        check=is_place,
        dated=True,
    ),
    rule(
        "residence",
        rf"{HAVE}{OFTEN} déménagé (?:de|d') ?(?P<value>{NAME}) (?:à|au|en|pour)\b",
        ended=True,
        check=is_place,
        dated=True,
    ),
    rule(
        "residence",
        rf"\b(?:mon|ma) (?:nouve(?:l|lle) )?(?:maison|appartement|appart|logement) est (?:à|au|en) {V}",
        check=is_place,
    ),
    rule(
        "residence",
        rf"(?:\bje |\bnous |\bon |\b{MINE}{NAMED} ){NOT}(?:habite|habitons|vis|vit|vivons) plus {AT} {V}",
        ended=True,
        dated=True,
    ),
    rule(
        "residence",
        rf"(?:\bavant,? |\bautrefois,? ){WHO}(?:habitais|habitait|vivais|vivait|habitions) {AT} {V}",
        ended=True,
        check=is_place,
    ),
    rule(
        "residence",
        rf"{WHO}(?:habitais|habitait|vivais|vivait|habitions) (?:avant|autrefois) {AT} {V}",
        ended=True,
        check=is_place,
    ),
    rule(
        "residence",
        rf"{WHO}(?:habitais|habitait|vivais|vivait|habitions) {AT} (?P<value>[^,;:!?()…]+?) (?:avant|autrefois)\b",
        ended=True,
        check=is_place,
    ),
    rule("hometown", rf"\bje (?:viens|suis originaire) (?:de|d'|du) ?{V}", check=is_place),
    rule("hometown", rf"\bj'ai grandi (?:à|au|en) {V}", check=is_place),
    # work
    rule(
        "employer",
        rf"{WHO}(?:travaille|travaillons|bosse){OFTEN} (?:chez|pour|à|au|dans) {V}",
        check=is_workplace,
        dated=True,
    ),
    rule(
        "employer",
        rf"(?:{HAVE}{OFTEN} (?:rejoint|été embauchée? (?:chez|par|à)|(?:trouvé|décroché|accepté|commencé) (?:un|mon|le) "
        rf"(?:nouve(?:l|au) )?(?:emploi|travail|poste|boulot|job) (?:chez|à|au)|commencé (?:à travailler )?(?:chez|à|au))) {V}",
        check=is_workplace,
        dated=True,
    ),
    rule(
        "employer",
        rf"(?:\bje |\bnous |\bon |\b{MINE}{NAMED} ){NOT}(?:travaille|travaillons|bosse) plus (?:chez|pour|à|au|dans) {V}",
        ended=True,
        dated=True,
    ),
    rule(
        "employer",
        rf"{WHO}(?:travaillais|travaillait) (?:avant|autrefois) (?:chez|pour|à|au) {V}",
        ended=True,
        check=is_workplace,
    ),
    rule(
        "employer",
        rf"{HAVE}{OFTEN} (?:quitté|perdu) (?:mon|son) (?:ancien )?(?:emploi|travail|poste|boulot|job)"
        rf"(?: (?:chez|à|au) {V})?",
        ended=True,
        dated=True,
    ),
    rule(
        "employer",
        rf"{HAVE}{OFTEN} (?:démissionné(?: de (?:chez )?{V})?|été (?:licenciée?|virée?)(?: (?:de|par) (?:chez )?)?)",
        ended=True,
        dated=True,
    ),
    rule("occupation", rf"{WHO}(?:travaille|bosse){OFTEN} comme {V}"),
    rule("occupation", rf"{BE}{OFTEN} (?P<value>{JOB}(?: [\w-]+)?)\b(?= |[.,;!]|$)", check=is_detail),
    rule("occupation", rf"{WAS}{OFTEN} devenue? (?P<value>{JOB})\b", dated=True),
    rule("occupation", rf"{HAVE}{OFTEN} été promue? {V}", dated=True),
    rule("occupation", rf"{BE}{OFTEN} (?:à la retraite|retraitée?)\b", value="retraité"),
    rule("occupation", rf"{HAVE}{OFTEN} pris (?:ma|sa) retraite\b", value="retraité", dated=True),
    # who somebody is
    rule("name", rf"\bje m'appelle (?P<value>{NAME})"),
    rule("name", rf"\bmon (?:pré)?nom est (?P<value>{NAME})"),
    rule("name", rf"(?:^|\b(?:tu peux|vous pouvez|on) (?:m')?)(?:appelle[zr]?|appeler)(?:-moi)? (?P<value>{NAME})"),
    rule("age", rf"{HAVE}{OFTEN} (?P<value>\d{{1,3}}) ans\b(?! (?:d'|de))"),
    rule("age", r"\bje viens d'avoir (?P<value>\d{1,3}) ans\b"),
    rule("birthday", rf"\bmon anniversaire (?:est|tombe|c'est) (?:le )?(?P<value>{DATE})"),
    rule("birthday", rf"\bl'anniversaire de {MINE} (?:est|tombe) (?:le )?(?P<value>{DATE})"),
    rule("birthday", rf"\bje suis née? le (?P<value>{DATE})"),
    rule("relationship_status", rf"{BE}{OFTEN} {MARRIED}", value="{value}é"),
    rule(
        "relationship_status",
        r"\b(?:je suis|je me retrouve)(?: maintenant| désormais| actuellement)? (?P<value>célibataire|veuve|veuf)\b",
    ),
    rule("relationship_status", rf"(?:{WAS}{OFTEN}|{HAVE}{OFTEN}) {MARRIED}", value="{value}é", dated=True),
    rule(
        "nationality",
        r"\bje suis (?P<value>française?|britannique|anglaise?|américaine?|canadien(?:ne)?|québécoise?|allemande?|"
        r"italien(?:ne)?|espagnole?|belge|suisse|néerlandaise?|irlandaise?|portugaise?|polonaise?|suédoise?|norvégien(?:ne)?|"
        r"danoise?|indien(?:ne)?|chinoise?|japonaise?|mexicaine?|brésilien(?:ne)?)\b(?! \w)",
    ),
    # people
    rule("name", rf"\b{MINE} (?:s'appelle|se nomme|se prénomme) (?P<value>{NAME})"),
    rule("name", rf"\b{MINE},? (?P<value>(?-i:{PROPER}))\b(?!')"),
    rule(
        "name",
        rf"\b(?:j'ai|nous avons|on a) une? (?:\w+ )?(?P<rel>{REL})(?: \w+)? (?:qui s'appelle|nommée?|prénommée?|appelée?) "
        rf"(?P<value>{NAME})",
    ),
    # animals
    rule(
        "pet",
        rf"\b(?:j'ai|nous avons|on a) (?:une?|deux|trois) {ANIMAL}(?: \w+)??(?: (?:qui s'appelle|nommée?|appelée?) "
        rf"(?P<named_pet>{NAME}))?(?! ans)",
        value="{animal} {named_pet}",
    ),
    rule(
        "pet",
        rf"{HAVE}{OFTEN} (?:adopté|acheté|recueilli|pris) une? (?:autre )?{ANIMAL}(?: (?:qui s'appelle|nommée?|appelée?) "
        rf"(?P<named_pet>{NAME}))?",
        value="{animal} {named_pet}",
        dated=True,
    ),
    rule(
        "pet",
        rf"\b(?:mon|ma|notre) {ANIMAL}(?: s'appelle| se nomme|,)? (?P<named_pet>(?-i:{PROPER}))",
        value="{animal} {named_pet}",
    ),
    rule(
        "pet",
        rf"\b(?:mon|ma|notre) {ANIMAL},? ?(?P<named_pet>(?-i:{PROPER}))?,? ?(?:est (?:mort|décédé)e?|nous a quittée?s?)",
        value="{animal} {named_pet}",
        ended=True,
        dated=True,
    ),
    rule("pet", rf"\b(?:je n'ai|nous n'avons|on n'a) (?:plus|pas) de {ANIMAL}", value="{animal}", ended=True),
    rule("pet", rf"{HAVE}{OFTEN} (?:donné|vendu) (?:mon|ma|notre) {ANIMAL}", value="{animal}", ended=True, dated=True),
    # body and food
    rule(
        "allergy",
        rf"{BE}{OFTEN} (?:très |gravement |sévèrement )?allergique (?:à l'|à la |aux |au |à ){LIST}",
        many=True,
    ),
    rule("allergy", rf"{HAVE}{OFTEN} une (?:grave )?allergie (?:à l'|à la |aux |au |à ){LIST}", many=True),
    rule(
        "allergy",
        rf"(?:\bje ne suis|\b{MINE}{NAMED} n'est) (?:plus|pas) allergique (?:à l'|à la |aux |au |à ){LIST}",
        many=True,
        ended=True,
    ),
    rule("diet", rf"{BE}{OFTEN} (?P<value>{DIET})\b"),
    rule("diet", rf"{WAS}{OFTEN} devenue?s? (?P<value>{DIET})\b", dated=True),
    rule("diet", rf"(?:\bje ne suis|\b{MINE}{NAMED} n'est) (?:plus|pas) (?P<value>{DIET})\b", ended=True),
    rule(
        "diet",
        rf"(?:\bje |\bnous |\b{MINE}{NAMED} ){NOT}(?:mange|mangeons|bois|boit|buvons) (?:pas|plus|jamais) (?:de |d')"
        rf"(?P<what>[a-zéè][\wéèê-]+(?: [a-zéè][\w-]+)??){END_FR}",
        value="sans {what}",
    ),
    rule(
        "diet",
        rf"{HAVE}{OFTEN} arrêté (?:de manger|de boire) (?:de la |du |des |de l'|de |d')?(?P<what>[a-zéè][\wéèê-]+){END_FR}",
        value="sans {what}",
        dated=True,
    ),
    rule(
        "diet",
        r"\bje (?:remange|rebois|mange à nouveau|bois à nouveau) (?:de la |du |des |de l')(?P<what>[a-zéè][\wéèê-]+)",
        value="sans {what}",
        ended=True,
    ),
    rule("health", rf"(?:{HAVE}|\bje souffre|\b{MINE}{NAMED} souffre) (?P<value>{CONDITION})(?!\w)"),
    rule("health", rf"\bon (?:m'a|lui a) diagnostiqué {V}", dated=True),
    rule(
        "health",
        rf"{BE}{OFTEN} (?P<value>diabétique|asthmatique|épileptique|anémiée?|anémique|dyslexique|daltonien(?:ne)?|enceinte)\b",
    ),
    rule(
        "medication",
        r"\bje prends (?:de la |du |des |de l')?(?P<value>[a-zéè][\wéèê-]+) (?:chaque|tous les|deux fois|contre|pour mon|pour ma)\b",
    ),
    # what somebody likes
    rule("likes", rf"{WHO}(?:aime|aimons|adore|adorons|apprécie)(?! pas| plus|rais|rait){OFTEN} {V}", check=is_liking),
    rule(
        "likes",
        rf"{BE}{OFTEN} (?:passionnée?s? (?:de|par)|fan (?:de|d')|fous de|folle? de|fou de) ?{V}",
        check=is_liking,
    ),
    rule("dislikes", rf"{WHO}(?:déteste|détestons|hais|hait){OFTEN} {V}", check=is_liking),
    rule(
        "dislikes",
        rf"(?:\bje |\bnous |\b{MINE}{NAMED} ){NOT}(?:aime|aimons|supporte|supportons) (?:pas|vraiment pas|pas du tout)"
        rf"(?: du tout| vraiment)? {V}",
        check=is_liking,
    ),
    rule(
        "likes",
        rf"(?:\bje |\bnous |\b{MINE}{NAMED} ){NOT}(?:aime|aimons) (?:pas|plus|vraiment pas|pas du tout) {V}",
        ended=True,
        check=is_liking,
    ),
    rule(
        "dislikes",
        rf"{WHO}(?:aime|aimons|adore|adorons|apprécie)(?! pas| plus|rais|rait){OFTEN} {V}",
        ended=True,
        check=is_liking,
    ),
    rule(
        "favourite.{thing}",
        rf"\b(?:mon|ma|mes) (?P<thing>[a-zéèêàç]+(?: [a-zéèêàç]+)?) (?:préférée?s?|favorite?s?)"
        rf"(?:,? c'est| est| sont| :)(?: maintenant| désormais| toujours| sans doute)* {V}",
        check=is_detail,
    ),
    rule(
        "favourite.{thing}",
        r"^(?P<value>[^,;:!?()…]+?) est (?:maintenant )?(?:mon|ma) (?:nouve(?:au|l|lle) )?(?P<thing>[a-zéèêàç]+) "
        r"(?:préférée?|favorite?)\b",
        check=is_detail,
    ),
    rule(
        "hobby",
        rf"(?:\bj'ai{OFTEN} commencé|\bje me suis{OFTEN} mise? ) ?{PARTICLE}{SPORT}",
        check=is_detail,
        dated=True,
    ),
    rule(
        "hobby",
        rf"\bj'ai{OFTEN} (?:arrêté|abandonné) (?!de manger|de boire|mon|ma|d'être|de travailler){PARTICLE}(?:faire |jouer )?"
        rf"(?:{PARTICLE})?{SPORT}",
        ended=True,
        check=is_detail,
        dated=True,
    ),
    rule(
        "instrument",
        r"\bje joue(?: maintenant| aussi)? (?:du |de la |de l')(?P<value>piano|guitare|violon|violoncelle|flûte|"
        r"batterie|clarinette|saxophone|trompette|harpe|accordéon|ukulélé|basse|hautbois|orgue|banjo)\b",
    ),
    # things
    rule(
        "possession",
        rf"(?:{HAVE}|{WHO}(?:conduis|conduit|possède)) (?P<value>(?:une? )(?:[\w-]+ )??{OWNED}(?: {PROPER})?)\b",
    ),
    rule(
        "possession",
        rf"{HAVE}{OFTEN} (?:acheté|hérité d'|eu) ?(?P<value>une? (?:[\w-]+ )??{OWNED}(?: {PROPER})?)\b",
        dated=True,
    ),
    rule(
        "possession",
        rf"{HAVE}{OFTEN} (?:vendu|donné|perdu|bousillé) (?:mon|ma|notre) (?P<value>(?:vieille |vieux |ancienne? )?{OWNED})\b",
        ended=True,
        dated=True,
    ),
    rule("possession", rf"\b(?:je n'ai|nous n'avons|on n'a) plus (?:de |d'|mon |ma )(?P<value>{OWNED})\b", ended=True),
    rule(
        "detail.{thing}",
        rf"\b(?:mon|ma) (?:nouve(?:au|l|lle) )?(?P<thing>{THING})(?: est| c'est| :)(?: maintenant| désormais| toujours)* {V}",
        check=is_detail,
    ),
    rule(
        "detail.{thing}",
        rf"\bj'ai{OFTEN} changé (?:mon|ma|de) (?P<thing>{THING})(?: de [^,;]+?)? (?:pour|en|à) {V}",
        check=is_detail,
        dated=True,
    ),
    rule(
        "habit",
        rf"(?:\bje suis|\bnous sommes|\bon est){OFTEN} passée?s?(?: (?:de|du|d')[^,;]+?)? (?:à la|à l'|au|aux|à) ?{V}",
        check=is_detail,
        dated=True,
    ),
    rule(
        "habit",
        r"(?:\bje suis|\bnous sommes|\bon est)(?: \w+)? passée?s? (?:de la |de l'|du |de |des |d')(?P<value>[^,;]+?) (?:à|au|aux)\b",
        ended=True,
        dated=True,
    ),
    rule(
        "likes",
        r"(?:\bje suis|\bnous sommes|\bon est)(?: \w+)? passée?s? (?:de la |de l'|du |de |des |d')(?P<value>[^,;]+?) (?:à|au|aux)\b",
        ended=True,
        dated=True,
    ),
    # reaching somebody
    rule(
        "phone",
        r"\bmon (?:nouveau )?(?:numéro(?: de (?:téléphone|portable))?|téléphone|portable)(?: est| c'est)(?: le| maintenant)*"
        r" (?P<value>\+?\d[\d ().-]{5,18}\d)",
    ),
    rule(
        "email",
        r"\b(?:mon|ma) (?:nouve(?:l|lle|au) )?(?:e-?mail|mail|courriel|adresse (?:e-?mail|mail|électronique))(?: est| c'est)"
        r"(?: maintenant)? (?P<value>[\w.+-]+@[\w-]+\.[\w.-]*\w)",
    ),
    rule(
        "address",
        r"\bmon (?:nouvelle )?adresse(?: est| c'est)(?: maintenant)?(?: le| au)? (?P<value>\d+\w? [^;!?()]+?)(?=\.(?:\s|$)|[;!]|$)",
    ),
    rule(
        "address",
        r"\bj'habite (?:au )?(?P<value>\d+\w?,? (?:bis |ter )?(?:rue|avenue|boulevard|place|chemin|allée|impasse|quai) [^,;!?()]+?)"
        + END_FR,
    ),
    # languages, learning, what is to come
    rule("language", rf"{WHO}(?:parle|parlons)(?: aussi| couramment)* {LANGUAGES}", many=True),
    rule("study", rf"{WHO}(?:étudie|étudions|apprends|apprend){OFTEN} (?:le |la |l'|les )?{V}", check=is_liking),
    rule("study", rf"\bje fais des études (?:de |d'){V}", check=is_liking),
    rule(
        "detail.{thing}",
        rf"\b(?:mon|ma|le|la|notre) (?P<thing>{EVENT})(?: avec [\w. ]+?)? (?:est|a été)(?: maintenant)?"
        rf"(?: (?:reportée?|déplacée?|décalée?|avancée?|prévue?|fixée?))?(?: de [^,;]+?)?(?: à| au| pour)? (?P<value>{WHEN})",
    ),
    rule("detail.{thing}", rf"\bj'ai (?:une? )?(?P<thing>{EVENT})(?: avec [\w. ]+?)? (?P<value>{WHEN})"),
    rule(
        "plan",
        rf"\b(?:je|nous) (?P<value>(?:vais|allons|pars|partons|m'envole) (?:à|au|aux|en|pour) (?:le |la |l')?{NAME})"
        rf" (?:\w+ )?{WHEN}",
    ),
    rule(
        "goal",
        rf"\b(?:mon but|mon objectif|mon rêve|mon ambition),? (?:est|c'est) (?:de |d')(?P<value>[^,;:!?()…]+?){END_FR}",
    ),
)
