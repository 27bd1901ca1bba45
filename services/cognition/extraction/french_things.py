"""French: what somebody likes, does, owns, speaks and plans; as ``english_things.py``. Pure."""

from __future__ import annotations

from services.cognition.extraction.french_words import (
    BE,
    CAR,
    DAYS,
    EVENT,
    GROUP,
    HAVE,
    INSTRUMENTS,
    LANGUAGES,
    LIKED,
    MINE,
    NAMED,
    NEGATED,
    OFTEN,
    OWNED,
    PARTICLE,
    SPORT,
    SPORTS,
    THING,
    WHEN,
    WHO,
    V,
    owned,
)
from services.cognition.extraction.patterns import END_FR, NAME, PROPER, Rule, rule
from services.cognition.extraction.values import is_detail, is_liking

RULES: tuple[Rule, ...] = (
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
        rf"\bj'ai{OFTEN} (?:arrêté|abandonné) (?!de manger|de boire|mon|ma|d'être|de travailler){PARTICLE}(?:faire |"
        rf"jouer )?"
        rf"(?:{PARTICLE})?{SPORT}",
        ended=True,
        check=is_detail,
        dated=True,
    ),
    rule(
        "favourite.{thing}",
        rf"\bde tous? (?:tes )?les (?P<thing>[a-zéèêàç]+?)s?, {WHO}aime{OFTEN} (?P<value>[^,;:!?()…]+?) le (?:plus|"
        rf"mieux)\b",
    ),
    rule(
        "favourite.{thing}",
        rf"{HAVE}{OFTEN} changé de (?P<thing>[a-zéèêàç]+) (?:préférée?|favorite?) ?: (?:ces temps-ci, |maintenant, "
        rf")?c'est {V}",
        check=is_detail,
    ),
    rule(
        "sport",
        rf"(?:{WHO}(?:a changé de sport et )?(?:fais|fait|faisons|pratique|joue)|\b(?:je me suis|{MINE}{NAMED} "
        rf"s'est|(?P<named>{NAME}) s'est)"
        rf"{OFTEN} mise? (?:à|au)(?: faire)?){OFTEN} (?:de la |de l'|du |au |à la |à l'|le |la |l'|"
        rf"l)?(?P<value>{SPORTS})\b",
    ),
    rule(
        "likes",
        rf"{WHO}(?:mangerais|mangerait) (?:tous les jours|chaque jour) (?P<value>(?:du |de la |des "
        rf")[^,;:!?()…]+?){END_FR}",
        check=is_liking,
    ),
    rule(
        "favourite.{thing}",
        rf"{WHO}(?:mangerais|mangerait) tous les jours ce (?P<thing>[a-z]+), (?:mon|son|leur) (?:préférée?|"
        rf"favorite?) : {V}",
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
        rf"(?:{WHO}(?:a changé d'instrument et )?(?:joue|jouons|apprends|apprend)|\b(?:je me suis|{MINE}{NAMED} "
        rf"s'est|(?P<named>{NAME}) "
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
        rf"{HAVE}{OFTEN}(?: vendu (?:l'ancienne|ma|sa|la) voiture et)? (?:acheté|pris|loué) "
        rf"(?P<value>{CAR})(?:{END_FR}| à la place)",
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
        rf"{owned(f'(?P<thing>{GROUP})')} (?:se réunit|répète|a lieu|est|s'entraîne|a été déplacée? ?: c'est|a été "
        rf"déplacée? (?:à|au)|"
        rf"a changé pour|passe (?:à|au))(?: maintenant| désormais)? (?P<value>{DAYS})",
    ),
    rule(
        "detail.{thing}",
        rf"{WHO}(?:chante|joue|danse|suis|est) dans une? (?P<thing>{GROUP}) qui (?:se réunit|répète|s'entraîne) "
        rf"(?P<value>{DAYS})",
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
        rf"{HAVE}{OFTEN} (?:vendu|donné|perdu|bousillé) (?:mon|ma|notre) (?P<value>(?:vieille |vieux |ancienne? "
        rf")?{OWNED})\b",
        ended=True,
        dated=True,
    ),
    rule("possession", rf"\b(?:je n'ai|nous n'avons|on n'a) plus (?:de |d'|mon |ma )(?P<value>{OWNED})\b", ended=True),
    rule(
        "detail.{thing}",
        rf"{owned('(?:nouve(?:au|l|lle) )?(?P<thing>' + THING + ')')}(?:,? est|,? c'est| :)(?: maintenant| "
        rf"désormais| toujours)* {V}",
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
        r"(?:\bje suis|\bnous sommes|\bon est)(?: \w+)? passée?s? (?:de la |de l'|du |de |des |"
        r"d')(?P<value>[^,;]+?) (?:à|au|aux)\b",
        ended=True,
        dated=True,
    ),
    rule(
        "likes",
        r"(?:\bje suis|\bnous sommes|\bon est)(?: \w+)? passée?s? (?:de la |de l'|du |de |des |"
        r"d')(?P<value>[^,;]+?) (?:à|au|aux)\b",
        ended=True,
        dated=True,
    ),
    # reaching somebody
    rule(
        "phone",
        r"\bmon (?:nouveau )?(?:numéro(?: de (?:téléphone|portable))?|téléphone|portable)(?: est| c'est)(?: le| "
        r"maintenant)*"
        r" (?P<value>\+?\d[\d ().-]{5,18}\d)",
    ),
    rule(
        "email",
        r"\b(?:mon|ma) (?:nouve(?:l|lle|au) )?(?:e-?mail|mail|courriel|adresse (?:e-?mail|mail|électronique))(?: "
        r"est| c'est)"
        r"(?: maintenant)? (?P<value>[\w.+-]+@[\w-]+\.[\w.-]*\w)",
    ),
    rule(
        "address",
        r"\bmon (?:nouvelle )?adresse(?: est| c'est)(?: maintenant)?(?: le| au)? (?P<value>\d+\w? "
        r"[^;!?()]+?)(?=\.(?:\s|$)|[;!]|$)",
    ),
    rule(
        "address",
        r"\bj'habite (?:au )?(?P<value>\d+\w?,? (?:bis |ter )?(?:rue|avenue|boulevard|place|chemin|allée|impasse|"
        r"quai) [^,;!?()]+?)" + END_FR,
    ),
    # languages, learning, what is to come
    rule("language", rf"{WHO}(?:parle|parlons)(?: aussi| couramment)* {LANGUAGES}", many=True),
    rule("study", rf"{WHO}(?:étudie|étudions|apprends|apprend){OFTEN} (?:le |la |l'|les )?{V}", check=is_liking),
    rule("study", rf"\bje fais des études (?:de |d'){V}", check=is_liking),
    rule(
        "detail.{thing}",
        rf"\b(?:mon|ma|le|la|notre) (?P<thing>{EVENT})(?: avec [\w. ]+?)? (?:est|a été)(?: maintenant)?"
        rf"(?: (?:reportée?|déplacée?|décalée?|avancée?|prévue?|fixée?))?(?: de [^,;]+?)?(?: à| au| pour)? "
        rf"(?P<value>{WHEN})",
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
