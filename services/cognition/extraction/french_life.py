"""French: where people live and work, who they and theirs are, body and food; as ``english_life.py``. Pure."""

from __future__ import annotations

from services.cognition.extraction.french_words import (
    ANIMAL,
    AT,
    BE,
    CONDITION,
    DATE,
    DIET,
    HAVE,
    JOB,
    LIST,
    MARRIED,
    MINE,
    NAMED,
    NEGATED,
    OFTEN,
    REL,
    WAS,
    WHO,
    V,
    owned,
)
from services.cognition.extraction.patterns import END_FR, NAME, PROPER, Rule, rule
from services.cognition.extraction.values import is_detail, is_place, is_workplace

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
        rf"(?:{WAS}{OFTEN} installée?s?|(?:\bje viens|\bnous venons|\b{MINE}{NAMED} vient|\b(?P<named>{NAME}) "
        rf"vient) (?:de (?:m'|s'|nous )installer|d'emménager|de déménager)) (?:à|au|aux|en|près de) {V}",
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
        rf"{owned('(?:nouve(?:l|lle) )?(?:maison|appartement|appart|logement)')} est (?:à|au|en) {V}",
        check=is_place,
    ),
    rule(
        "residence",
        rf"{NEGATED}(?:habite|habitons|vis|vit|vivons) plus {AT} {V}",
        ended=True,
        dated=True,
    ),
    rule(
        "residence",
        rf"{WHO}(?:habitais|habitait|habitions|vivais|vivait|vivions)(?: avant| autrefois)? {AT} {V}",
        ended=True,
        check=is_place,
    ),
    rule(
        "hometown",
        rf"\bje (?:viens|suis originaire) (?:de |d'|du )(?P<value>(?-i:[A-ZÀ-Ý])[^,;:!?()…]*?){END_FR}",
        check=is_place,
    ),
    rule("hometown", rf"\bj'ai grandi (?:à|au|en) {V}", check=is_place),
    rule(
        "residence",
        rf"(?:{HAVE}|{WHO}loue){OFTEN} (?:acheté )?une? (?:[\w-]+ ){{0,2}}(?:appartement|appart|maison|studio|"
        rf"chambre|logement) "
        rf"(?:à|au|en|près de) {V}",
        check=is_place,
    ),
    # work
    rule(
        "employer",
        rf"{WHO}(?:a changé d'emploi,? et )?(?:travaille|travaillons|bosse){OFTEN} (?:chez|pour|à|au|dans) {V}",
        check=is_workplace,
        dated=True,
    ),
    rule(
        "employer",
        rf"(?:{HAVE}{OFTEN} (?:rejoint|été embauchée? (?:chez|par|à)|(?:trouvé|décroché|accepté|commencé) (?:un|mon|"
        rf"le) "
        rf"(?:nouve(?:l|au) )?(?:emploi|travail|poste|boulot|job) (?:chez|à|au)|commencé (?:à travailler )?(?:chez|"
        rf"à|au))) {V}",
        check=is_workplace,
        dated=True,
    ),
    rule(
        "employer",
        rf"{NEGATED}(?:travaille|travaillons|bosse) plus (?:chez|pour|à|au|dans) {V}",
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
    rule("employer", rf"{HAVE}{OFTEN} (?:mon|son|un) (?:bureau|poste|emploi) (?:chez|à) {V}", check=is_workplace),
    rule("occupation", rf"{WHO}gagne{OFTEN} (?:ma|sa) vie comme {V}"),
    rule("occupation", rf"{WHO}(?:travaille|bosse){OFTEN} comme {V}"),
    rule("occupation", rf"{BE}{OFTEN} (?P<value>{JOB}(?: [\w-]+)?)\b(?= |[.,;!]|$)", check=is_detail),
    rule("occupation", rf"(?:{WAS}|{WHO}s'est recyclée? et est){OFTEN} devenue? (?P<value>{JOB})\b", dated=True),
    rule("occupation", rf"{HAVE}{OFTEN} été promue? {V}", dated=True),
    rule("occupation", rf"{BE}{OFTEN} (?:à la retraite|retraitée?)\b", value="retraité"),
    rule("occupation", rf"{HAVE}{OFTEN} pris (?:ma|sa) retraite\b", value="retraité", dated=True),
    # who somebody is
    rule("name", rf"\bje m'appelle (?P<value>{NAME})"),
    rule("name", rf"\bmon (?:pré)?nom est (?P<value>{NAME})"),
    rule("name", rf"(?:^|\b(?:tu peux|vous pouvez|on) (?:m')?)(?:appelle[zr]?|appeler)(?:-moi)? (?P<value>{NAME})"),
    rule("age", rf"{HAVE}{OFTEN} (?P<value>\d{{1,3}}) ans\b(?! (?:d'|de))"),
    rule("age", r"\bje viens d'avoir (?P<value>\d{1,3}) ans\b"),
    rule("birthday", rf"{owned('anniversaire')} (?:est|tombe|c'est) (?:le )?(?P<value>{DATE})"),
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
        r"italien(?:ne)?|espagnole?|belge|suisse|néerlandaise?|irlandaise?|portugaise?|polonaise?|suédoise?|"
        r"norvégien(?:ne)?|"
        r"danoise?|indien(?:ne)?|chinoise?|japonaise?|mexicaine?|brésilien(?:ne)?)\b(?! \w)",
    ),
    # people
    rule("name", rf"\b{MINE} (?:s'appelle|se nomme|se prénomme) (?P<value>{NAME})"),
    rule("name", rf"\b{MINE},? (?P<value>(?-i:{PROPER}))\b(?!')"),
    rule(
        "name",
        rf"\b(?:j'ai|nous avons|on a) une? (?:\w+ )?(?P<rel>{REL})(?: \w+)? (?:qui s'appelle|nommée?|prénommée?|"
        rf"appelée?) "
        rf"(?P<value>{NAME})",
    ),
    # animals
    rule("pet", rf"{HAVE}{OFTEN} (?:une?|deux|trois) (?:nouve(?:au|l|lle) )?(?P<value>{ANIMAL})\b(?! ans)"),
    rule("pet", rf"{HAVE}{OFTEN} (?:adopté|acheté|recueilli|pris) une? (?:autre )?(?P<value>{ANIMAL})\b", dated=True),
    rule(
        "pet.{animal}",
        rf"{owned(ANIMAL)}(?: (?:s'appelle|se nomme)|,)?(?: maintenant| désormais)? (?P<value>(?-i:{PROPER}))",
    ),
    rule(
        "pet.{animal}",
        rf"(?:{HAVE}{OFTEN}(?: adopté| acheté| recueilli| pris)?|{WHO}promène) (?:une?|mon|ma|notre) "
        rf"(?:autre |nouve(?:au|l|lle) |deuxième )?{ANIMAL}(?: \w+)??(?:,? (?:qui s'appelle|nommée?|appelée?)|,) "
        rf"(?P<value>{NAME})",
        dated=True,
    ),
    rule(
        "pet.{animal}",
        rf"{owned(ANIMAL)},? ?(?P<value>(?-i:{PROPER}))?,? ?(?:est (?:mort|décédé)e?|nous a quittée?s?)",
        ended=True,
        dated=True,
    ),
    rule(
        "pet",
        rf"{owned(ANIMAL)},? ?(?-i:{PROPER})?,? ?(?:est (?:mort|décédé)e?|nous a quittée?s?)",
        value="{animal}",
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
        rf"{NEGATED}(?:mange|mangeons|bois|boit|buvons) (?:pas|plus|jamais) (?:de |d')"
        rf"(?P<what>[a-zéè][\wéèê-]+(?: [a-zéè][\w-]+)??){END_FR}",
        value="sans {what}",
    ),
    rule(
        "diet",
        rf"{HAVE}{OFTEN} arrêté (?:de manger|de boire) (?:de la |du |des |de l'|de |"
        rf"d')?(?P<what>[a-zéè][\wéèê-]+){END_FR}",
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
        rf"{BE}{OFTEN} (?P<value>diabétique|asthmatique|épileptique|anémiée?|anémique|dyslexique|daltonien(?:ne)?|"
        rf"enceinte)\b",
    ),
    rule(
        "medication",
        r"\bje prends (?:de la |du |des |de l')?(?P<value>[a-zéè][\wéèê-]+) (?:chaque|tous les|deux fois|contre|"
        r"pour mon|pour ma)\b",
    ),
)
