"""How facts are stated in French. Each rule has its counterpart in ``english.py``. Pure."""

from __future__ import annotations

from services.cognition.extraction.french_words import (
    ANIMAL,
    AT,
    BE,
    CAR,
    CONDITION,
    DATE,
    DAYS,
    DIET,
    EVENT,
    GROUP,
    HAVE,
    INSTRUMENTS,
    JOB,
    LANGUAGES,
    LIKED,
    LIST,
    MARRIED,
    MINE,
    NAMED,
    NEGATED,
    OFTEN,
    OWNED,
    PARTICLE,
    REL,
    SPORT,
    SPORTS,
    THING,
    WAS,
    WHEN,
    WHO,
    V,
    owned,
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
        rf"(?:{WAS}{OFTEN} installée?s?|(?:\bje viens|\bnous venons|\b{MINE}{NAMED} vient|\b(?P<named>{NAME}) vient) (?:de (?:m'|s'|nous )installer|d'emménager|de déménager)) (?:à|au|aux|en|près de) {V}",
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
    rule(
        "residence",
        rf"(?:{HAVE}|{WHO}loue){OFTEN} (?:acheté )?une? (?:[\w-]+ ){{0,2}}(?:appartement|appart|maison|studio|chambre|logement) "
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
        rf"(?:{HAVE}{OFTEN} (?:rejoint|été embauchée? (?:chez|par|à)|(?:trouvé|décroché|accepté|commencé) (?:un|mon|le) "
        rf"(?:nouve(?:l|au) )?(?:emploi|travail|poste|boulot|job) (?:chez|à|au)|commencé (?:à travailler )?(?:chez|à|au))) {V}",
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
    rule("pet", rf"{HAVE}{OFTEN} (?:une?|deux|trois) (?:nouve(?:au|l|lle) )?(?P<value>{ANIMAL})\b(?! ans)"),
    rule("pet", rf"{HAVE}{OFTEN} (?:adopté|acheté|recueilli|pris) une? (?:autre )?(?P<value>{ANIMAL})\b", dated=True),
    rule(
        "pet.{animal}",
        rf"{owned(ANIMAL)}(?: (?:s'appelle|se nomme)|,)?(?: maintenant| désormais)? (?P<value>(?-i:{PROPER}))",
    ),
    rule(
        "pet.{animal}",
        rf"(?:{HAVE}{OFTEN}(?: adopté| acheté| recueilli| pris)?|{WHO}promène) (?:une?|mon|ma|notre) "
        rf"(?:autre |nouve(?:au|l|lle) |deuxième )?{ANIMAL}(?: \w+)??(?:,? (?:qui s'appelle|nommée?|appelée?)|,) (?P<value>{NAME})",
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
    rule(
        "likes",
        rf"{WHO}(?:aime|aimons|adore|adorons|apprécie|raffole de)(?! pas| plus|rais|rait){OFTEN} {LIKED}",
        check=is_liking,
        many=True,
    ),
    rule(
        "likes",
        rf"{BE}{OFTEN} (?:passionnée?s? (?:de|par)|fan (?:de|d')|fous de|folle? de|fou de) ?{LIKED}",
        check=is_liking,
        many=True,
    ),
    rule("likes", rf"{WHO}(?:déteste|détestons|hais|hait){OFTEN} {LIKED}", ended=True, check=is_liking, many=True),
    rule(
        "likes",
        rf"{NEGATED}(?:aime|aimons|supporte|supportons) (?:pas du tout|vraiment pas|pas|plus)(?: vraiment)? {LIKED}",
        ended=True,
        check=is_liking,
        many=True,
    ),
    rule(
        "favourite.{thing}",
        rf"{owned('(?P<thing>[a-zéèêàç]+(?: [a-zéèêàç]+)?) (?:préférée?s?|favorite?s?)')}"
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
        "favourite.{thing}",
        rf"\bde tous? (?:tes )?les (?P<thing>[a-zéèêàç]+?)s?, {WHO}aime{OFTEN} (?P<value>[^,;:!?()…]+?) le (?:plus|mieux)\b",
    ),
    rule(
        "favourite.{thing}",
        rf"{HAVE}{OFTEN} changé de (?P<thing>[a-zéèêàç]+) (?:préférée?|favorite?) ?: (?:ces temps-ci, |maintenant, )?c'est {V}",
        check=is_detail,
    ),
    rule(
        "sport",
        rf"(?:{WHO}(?:a changé de sport et )?(?:fais|fait|faisons|pratique|joue)|\b(?:je me suis|{MINE}{NAMED} s'est|(?P<named>{NAME}) s'est)"
        rf"{OFTEN} mise? (?:à|au)(?: faire)?){OFTEN} (?:de la |de l'|du |au |à la |à l'|le |la |l'|l)?(?P<value>{SPORTS})\b",
    ),
    rule(
        "likes",
        rf"{WHO}(?:mangerais|mangerait) (?:tous les jours|chaque jour) (?P<value>(?:du |de la |des )[^,;:!?()…]+?){END_FR}",
        check=is_liking,
    ),
    rule(
        "favourite.{thing}",
        rf"{WHO}(?:mangerais|mangerait) tous les jours ce (?P<thing>[a-z]+), (?:mon|son|leur) (?:préférée?|favorite?) : {V}",
    ),
    rule(
        "sport", rf"{owned('(?:nouveau )?sport')},? (?:est|c'est)(?: maintenant)? (?:le |la |l')?(?P<value>{SPORTS})\b"
    ),
    rule(
        "sport",
        rf"{HAVE}{OFTEN} (?:arrêté|abandonné) (?:de faire )?(?:de la |de l'|du |le |la |l')(?P<value>{SPORTS})\b",
        ended=True,
        dated=True,
    ),
    rule(
        "instrument",
        rf"(?:{WHO}(?:a changé d'instrument et )?(?:joue|jouons|apprends|apprend)|\b(?:je me suis|{MINE}{NAMED} s'est|(?P<named>{NAME}) "
        rf"s'est){OFTEN} mise? (?:à|au)(?: jouer)?|{WHO}travaille un instrument [^.;]*?et (?:je )?joue){OFTEN} "
        rf"(?:de la |de l'|du |à la |à l'|le |la |l')?(?P<value>{INSTRUMENTS})\b",
    ),
    rule(
        "instrument",
        rf"{HAVE}{OFTEN} (?:arrêté|abandonné) (?:de jouer )?(?:de la |de l'|du |le |la |l')(?P<value>{INSTRUMENTS})\b",
        ended=True,
        dated=True,
    ),
    # things
    rule(
        "car", rf"{WHO}(?:conduis|conduit|conduisons|vais partout dans|va partout dans){OFTEN} (?P<value>{CAR}){END_FR}"
    ),
    rule(
        "car",
        rf"{HAVE}{OFTEN}(?: vendu (?:l'ancienne|ma|sa|la) voiture et)? (?:acheté|pris|loué) (?P<value>{CAR})(?:{END_FR}| à la place)",
        dated=True,
    ),
    rule(
        "car",
        rf"{HAVE}{OFTEN} (?:vendu|bousillé) (?:ma|sa|la|notre|l'ancienne) ?(?:vieille )?voiture\b",
        ended=True,
        dated=True,
    ),
    rule(
        "detail.{thing}",
        rf"{HAVE}{OFTEN}(?: acheté)? une? nouve(?:au|l|lle) (?P<thing>{THING})[,:] {V}",
        check=is_detail,
    ),
    rule(
        "detail.{thing}",
        rf"{HAVE}{OFTEN} remplacé (?:le|la|mon|ma|son|sa|notre) (?:vieux |vieille )?(?P<thing>{THING}) par {V}",
        check=is_detail,
        dated=True,
    ),
    rule("detail.{thing}", rf"{HAVE}{OFTEN} (?P<value>[^,;:!?()…]+?) comme (?P<thing>téléphone|ordinateur)\b"),
    rule(
        "detail.{thing}",
        rf"{owned(f'(?P<thing>{GROUP})')} (?:se réunit|répète|a lieu|est|s'entraîne|a été déplacée? ?: c'est|a été déplacée? (?:à|au)|"
        rf"a changé pour|passe (?:à|au))(?: maintenant| désormais)? (?P<value>{DAYS})",
    ),
    rule(
        "detail.{thing}",
        rf"{WHO}(?:chante|joue|danse|suis|est) dans une? (?P<thing>{GROUP}) qui (?:se réunit|répète|s'entraîne) (?P<value>{DAYS})",
    ),
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
        rf"{owned('(?:nouve(?:au|l|lle) )?(?P<thing>' + THING + ')')}(?:,? est|,? c'est| :)(?: maintenant| désormais| toujours)* {V}",
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
