"""English: what somebody likes, does, owns, speaks and plans; as ``french_things.py``. Pure."""

from __future__ import annotations

from services.cognition.extraction.english_words import (
    BE,
    CAR,
    DAYS,
    EVENT,
    GROUP,
    HAVE,
    INSTRUMENTS,
    LANGUAGES,
    LIKED,
    NOT,
    OFTEN,
    OWNED,
    OWNER,
    SELF,
    SPORT,
    SPORTS,
    THING,
    WHEN,
    WHO,
    V,
)
from services.cognition.extraction.patterns import END_EN, NAME, PROPER, Rule, rule
from services.cognition.extraction.values import is_detail, is_liking

RULES: tuple[Rule, ...] = (
    # what somebody likes
    rule("likes", rf"{SELF}{OFTEN} (?:likes?|loves?|enjoys?|adores?) {LIKED}", check=is_liking, many=True),
    rule("likes", rf"\b(?P<named>{NAME}){OFTEN} (?:likes|loves|enjoys|adores) {LIKED}", check=is_liking, many=True),
    rule(
        "likes",
        rf"{BE}{OFTEN} (?:into|fond of|crazy about|keen on|a (?:big|huge) fan of) {LIKED}",
        check=is_liking,
        many=True,
    ),
    rule(
        "likes",
        rf"{WHO}{OFTEN} (?:hates?|dislikes?|can't stand|cannot stand|detests?) {LIKED}",
        ended=True,
        check=is_liking,
        many=True,
    ),
    rule("likes", rf"{WHO}{NOT}(?: really)? (?:like|love|enjoy) {LIKED}", ended=True, check=is_liking, many=True),
    rule("likes", rf"{WHO} no longer (?:likes?|loves?|enjoys?) {LIKED}", ended=True, check=is_liking, many=True),
    rule(
        "favourite.{thing}",
        rf"{OWNER}(?: new| current| all-time)? favou?rite (?P<thing>[a-z]+(?: [a-z]+)?)"
        rf"(?: is|:)(?: now| still| definitely| by far)* {V}",
        check=is_detail,
    ),
    rule(
        "favourite.{thing}",
        r"^(?P<value>[^,;:!?()…]+?) is (?:now )?my(?: new)? favou?rite (?P<thing>[a-z]+)\b",
        check=is_detail,
    ),
    rule(
        "hobby",
        rf"{HAVE}{OFTEN} (?:started|taken up|took up|begun|began) {SPORT}",
        check=is_detail,
        dated=True,
    ),
    rule(
        "hobby",
        rf"{HAVE}{OFTEN} (?:stopped|given up|gave up|quit) (?!eating|drinking|my|the|working|being) ?"
        rf"{SPORT}",
        ended=True,
        check=is_detail,
        dated=True,
    ),
    rule(
        "favourite.{thing}",
        rf"{WHO}{OFTEN} likes? (?P<value>[^,;:!?()…]+?) (?:the )?(?:best|most) of all (?P<thing>[a-z]+?)(?:e?s)?\b",
    ),
    rule(
        "favourite.{thing}",
        rf"{HAVE}{OFTEN} changed favou?rites?: (?:the |my )?(?P<thing>[a-z]+) is {V}",
        check=is_detail,
    ),
    rule(
        "sport",
        rf"{HAVE}{OFTEN}(?: do(?:es)?| plays?| practi[sc]es?| goes?| took up| taken up| started| switched to) "
        rf"(?P<value>{SPORTS})\b",
    ),
    rule(
        "likes", rf"{WHO} (?:would|could) eat (?P<value>[^,;:!?()…]+?) (?:every|all) (?:single )?day\b", check=is_liking
    ),
    rule(
        "favourite.{thing}",
        rf"{WHO} would eat (?P<value>[^,;:!?()…]+?) every day, it's (?:my|the|his|her|their) favou?rite "
        rf"(?P<thing>[a-z]+)\b",
    ),
    rule("sport", rf"{OWNER}(?: new)? sport is(?: now)? (?P<value>{SPORTS})\b"),
    rule(
        "sport",
        rf"{HAVE}{OFTEN} (?:stopped|quit|gave up|given up) (?:doing |playing )?(?P<value>{SPORTS})\b",
        ended=True,
        dated=True,
    ),
    rule(
        "instrument",
        rf"{HAVE}(?: can)?{OFTEN}(?: changed instruments and)?(?: plays?| learns?| practi[sc]es?| took up| taken up|"
        rf" started) "
        rf"(?:to play |playing )?(?:the )?(?P<value>{INSTRUMENTS})\b",
    ),
    rule("instrument", rf"{WHO}{OFTEN} (?:practi[sc]es?|plays?) an instrument[^.;]*?, the (?P<value>{INSTRUMENTS})\b"),
    rule(
        "instrument",
        rf"{HAVE}{OFTEN} (?:stopped|quit|gave up|given up) (?:playing )?(?:the )?(?P<value>{INSTRUMENTS})\b",
        ended=True,
        dated=True,
    ),
    # things
    rule("car", rf"{WHO}{OFTEN} (?:drives?|go(?:es)? everywhere in) (?P<value>{CAR}){END_EN}"),
    rule(
        "car",
        rf"{HAVE}{OFTEN}(?: sold (?:the|my|his|her) (?:old )?car and)? (?:got|bought|leased|purchased) "
        rf"(?P<value>{CAR}){END_EN}",
        dated=True,
    ),
    rule(
        "car",
        rf"{HAVE}{OFTEN} (?:sold|crashed|totalled|got rid of) (?:my|our|the|his|her) (?:old )?car\b",
        ended=True,
        dated=True,
    ),
    rule(
        "detail.{thing}",
        rf"{HAVE}{OFTEN}(?: have| has| got| bought)? a new (?P<thing>{THING})[,:] {V}",
        check=is_detail,
    ),
    rule(
        "detail.{thing}",
        rf"{HAVE}{OFTEN} replaced (?:the|my|our|his|her|their) (?:old )?(?P<thing>{THING}) (?:with|by) {V}",
        check=is_detail,
        dated=True,
    ),
    rule(
        "detail.{thing}",
        rf"{WHO} (?:have|has|uses?) (?P<value>[^,;:!?()…]+?) as (?:an?|my|his|her) (?P<thing>phone|laptop|computer)\b",
    ),
    rule(
        "detail.{thing}",
        rf"{OWNER}(?: new)? (?P<thing>{GROUP})(?: now)? (?:meets|rehearses|trains|is held|takes place|was moved to|"
        rf"has moved to|"
        rf"has been moved to|changed to|moved to|is)(?: now)? (?P<value>{DAYS})",
    ),
    rule(
        "detail.{thing}",
        rf"{WHO} (?:sings?|plays?|dances?|am|is) in an? (?P<thing>{GROUP}) (?:that|which) (?:meets|rehearses|"
        rf"trains) (?P<value>{DAYS})",
    ),
    rule(
        "possession",
        rf"{WHO} (?:drives?|owns?|has|have)(?: got)? (?P<value>(?:an? |my own )(?:[\w-]+ ){{0,3}}{OWNED}(?: "
        rf"{PROPER})?)\b",
    ),
    rule(
        "possession",
        rf"{HAVE}{OFTEN} (?:bought|got|purchased|inherited) (?P<value>an? (?:[\w-]+ ){{0,3}}"
        rf"{OWNED}(?: {PROPER})?)\b",
        dated=True,
    ),
    rule(
        "possession",
        rf"{HAVE}{OFTEN} (?:sold|got rid of|gave away|lost|crashed|totalled) (?:my|our|the) "
        rf"(?P<value>(?:[\w-]+ )?{OWNED})\b",
        ended=True,
        dated=True,
    ),
    rule(
        "possession",
        rf"\b(?:I|we) (?:no longer|don't) (?:have|own|drive) (?:an?|my|the) (?P<value>(?:[\w-]+ )?{OWNED})\b",
        ended=True,
    ),
    rule(
        "detail.{thing}",
        rf"{OWNER}(?: new| current| own)? (?P<thing>{THING})(?: is|:)(?: now| currently| still)* {V}",
        check=is_detail,
    ),
    rule(
        "detail.{thing}",
        rf"{HAVE}{OFTEN} (?:changed|switched|updated|set|moved) my (?P<thing>{THING})"
        rf"(?: from [^,;]+?)? to {V}",
        check=is_detail,
        dated=True,
    ),
    rule(
        "habit",
        rf"{HAVE}{OFTEN} switched(?: from [^,;]+?)? (?:over )?to {V}",
        check=is_detail,
        dated=True,
    ),
    rule("habit", r"\b(?:I|we)(?:'ve| have)? (?:\w+ )?switched from (?P<value>[^,;]+?) to\b", ended=True, dated=True),
    rule("likes", r"\b(?:I|we)(?:'ve| have)? (?:\w+ )?switched from (?P<value>[^,;]+?) to\b", ended=True, dated=True),
    # reaching somebody
    rule(
        "phone",
        r"\bmy (?:new )?(?:phone|mobile|cell)(?: phone)?(?: number)?(?:'s| is)(?: now)? (?P<value>\+?\d[\d "
        r"().-]{5,18}\d)",
    ),
    rule("phone", r"\bmy (?:new )?number(?:'s| is)(?: now)? (?P<value>\+?\d[\d ().-]{5,18}\d)"),
    rule("email", r"\bmy (?:new )?e-?mail(?: address)?(?:'s| is)(?: now)? (?P<value>[\w.+-]+@[\w-]+\.[\w.-]*\w)"),
    rule(
        "address",
        r"\bmy (?:new )?(?:home |postal )?address(?:'s| is)(?: now)? (?P<value>\d+\w? [^;!?()]+?)(?=\.(?:\s|$)|[;!]|$)",
    ),
    rule("address", r"\bI live at (?P<value>\d+\w? [^,;!?()]+?)" + END_EN),
    # languages, learning, what is to come
    rule("language", rf"{WHO}(?: can| also)* speaks? {LANGUAGES}", many=True),
    rule("study", rf"{BE}{OFTEN} (?:studying|learning) {V}", check=is_liking),
    rule(
        "study",
        rf"{WHO}{OFTEN} (?:study|studies) (?P<value>(?!hard|at|a lot|every)[^,;:!?()…]+?){END_EN}",
        check=is_liking,
    ),
    rule(
        "detail.{thing}",
        rf"(?:{OWNER}|\bthe) (?P<thing>{EVENT})(?: with [\w. ]+?)? (?:is|has been|was|got)(?: now)?"
        rf"(?: (?:moved|rescheduled|postponed|pushed back|brought forward|scheduled|booked))?(?: to| for| from "
        rf"[^,;]+? to)? "
        rf"(?P<value>{WHEN})",
    ),
    rule("detail.{thing}", rf"\bI(?:'ve| have)(?: got)? an? (?P<thing>{EVENT})(?: with [\w. ]+?)? (?P<value>{WHEN})"),
    rule(
        "plan",
        rf"\b(?:I'm|I am|we're|we are) (?P<value>(?:going|flying|travell?ing|moving|heading) to (?:the )?{NAME})"
        rf" (?:\w+ )?{WHEN}",
    ),
    rule("goal", rf"\b(?:my goal|my dream|my ambition) is to (?P<value>[^,;:!?()…]+?){END_EN}"),
)
