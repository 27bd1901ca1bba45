"""How facts are stated in English. Each rule has its counterpart in ``french.py``. Pure."""

from __future__ import annotations

from services.cognition.extraction.english_words import (
    ANIMAL,
    BE,
    CAR,
    CONDITION,
    DATE,
    DAYS,
    DIET,
    ENDS,
    EVENT,
    GROUP,
    HAVE,
    INSTRUMENTS,
    JOB,
    LANGUAGES,
    LIKED,
    LIST,
    MINE,
    NOT,
    OFTEN,
    OWNED,
    OWNER,
    REL,
    SELF,
    SPORT,
    SPORTS,
    THING,
    WHEN,
    WHO,
    V,
)
from services.cognition.extraction.patterns import (
    END_EN,
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
        rf"{WHO}{OFTEN} (?:lives?|resides?) (?:(?:in|at) (?:a|an|the) [\w -]+? )?(?:in|near|at) {V}",
        check=is_place,
        dated=True,
    ),
    rule("residence", rf"{BE}{OFTEN} (?:living|based|residing) (?:in|near) {V}", check=is_place, dated=True),
    rule(
        "residence",
        rf"{HAVE}{OFTEN} (?:moved|relocated)(?: back)?(?: from (?:[\w-]+ ){{1,3}}?)? ?to {V}",
        check=is_place,
        dated=True,
    ),
    rule(
        "residence",
        rf"{HAVE}{OFTEN} (?:moved|relocated) from (?P<value>{NAME}) to\b",
        ended=True,
        check=is_place,
        dated=True,
    ),
    rule("residence", rf"{OWNER} (?:new )?(?:home|place|house|flat|apartment) is in {V}", check=is_place),
    rule(
        "residence",
        rf"{WHO}{OFTEN} (?:have|has|rents?|bought) an? (?:[\w-]+ ){{0,2}}(?:flat|apartment|house|home|studio|room) in {V}",
        check=is_place,
    ),
    rule("residence", rf"{WHO}{NOT} live (?:in|at|near) {V}{ENDS}", ended=True, dated=True),
    rule("residence", rf"{WHO} no longer lives? (?:in|at|near) {V}", ended=True, dated=True),
    rule("residence", rf"{WHO} used to live (?:in|at|near) {V}", ended=True, check=is_place),
    rule("residence", rf"{HAVE}{OFTEN} moved (?:out of|away from) {V}", ended=True, check=is_place, dated=True),
    rule("hometown", rf"\b(?:I (?:come|am)|I'm)(?: originally)? from {V}", check=is_place),
    rule("hometown", rf"\bI (?:grew up|was born and raised|was raised) in {V}", check=is_place),
    # work
    rule("employer", rf"{WHO}(?: changed jobs,? and)?{OFTEN} works? (?:at|for) {V}", check=is_workplace, dated=True),
    rule(
        "employer", rf"{WHO}{OFTEN} (?:have|has) an? (?:desk|office|job|position) (?:at|with) {V}", check=is_workplace
    ),
    rule("employer", rf"{BE}{OFTEN} working (?:at|for) {V}", check=is_workplace, dated=True),
    rule(
        "employer",
        rf"{HAVE}{OFTEN} (?:joined|(?:been |got |was )?hired (?:at|by)|(?:got|found|started|landed|accepted) "
        rf"(?:a|my|the) (?:new )?(?:job|position|role) (?:at|with)|start(?:ed|s)? (?:working )?(?:at|for)) {V}",
        check=is_workplace,
        dated=True,
    ),
    rule("employer", rf"{WHO}{NOT} work (?:at|for) {V}{ENDS}", ended=True, dated=True),
    rule("employer", rf"{WHO} no longer works? (?:at|for) {V}", ended=True, dated=True),
    rule("employer", rf"{WHO} used to work (?:at|for) {V}", ended=True, check=is_workplace),
    rule(
        "employer",
        rf"{HAVE}{OFTEN} (?:quit|left|resigned from|lost) (?:my|his|her) (?:old )?job(?: (?:at|with) {V})?",
        ended=True,
        dated=True,
    ),
    rule(
        "employer",
        rf"\bI (?:was|got|have been|'ve been)(?: just| recently)? (?:fired|laid off|let go)(?: (?:from|by) {V})?",
        ended=True,
        dated=True,
    ),
    rule("occupation", rf"{WHO}{OFTEN} works? as (?P<value>an? [^,;:!?()…]+?){END_EN}"),
    rule("occupation", rf"{WHO}{OFTEN} earns? (?:a|my|his|her|their) living as (?P<value>an? [^,;:!?()…]+?){END_EN}"),
    rule("occupation", rf"{BE}{OFTEN} (?P<value>an? {JOB})\b(?! (?:at heart|myself))"),
    rule("occupation", rf"{HAVE}{OFTEN}(?: retrained and)? (?:became|become) (?P<value>an? {JOB})\b", dated=True),
    rule("occupation", rf"{HAVE}{OFTEN} (?:been |got |was )?promoted to {V}", dated=True),
    rule("occupation", rf"{HAVE}{OFTEN} (?:retired|been retired)\b(?! (?:the|my|to))", value="retired", dated=True),
    rule("occupation", rf"{BE}{OFTEN} retired\b", value="retired"),
    # who somebody is
    rule("name", rf"\bmy (?:first |full )?name(?:'s| is) (?P<value>{NAME})"),
    rule("name", rf"\b(?:please |you can |everyone |people )(?:calls? me|call me) (?P<value>{NAME})"),
    rule("name", rf"^call me (?P<value>{NAME})"),
    rule("age", rf"{BE}{OFTEN} (?P<value>\d{{1,3}}) years? old"),
    rule("age", rf"{HAVE}{OFTEN} turned (?P<value>\d{{1,3}})\b(?!:)"),
    rule("birthday", rf"{OWNER} birthday(?:'s| is)(?: on)? (?P<value>{DATE})"),
    rule("birthday", rf"\b{MINE}'s birthday is(?: on)? (?P<value>{DATE})"),
    rule("birthday", rf"\bI was born on (?P<value>{DATE})"),
    rule(
        "relationship_status",
        rf"{BE}{OFTEN} (?P<value>married|divorced|engaged|widowed)\b(?! (?:in|with) )",
    ),
    rule("relationship_status", r"\bI(?:'m| am)(?: now| currently)? (?P<value>single)\b(?! \w)"),
    rule(
        "relationship_status",
        rf"{HAVE}{OFTEN} (?:got|gotten) (?P<value>married|divorced|engaged)\b",
        dated=True,
    ),
    rule(
        "nationality",
        r"\bI(?:'m| am) (?P<value>French|British|American|Canadian|German|Italian|Spanish|Belgian|Swiss|"
        r"Dutch|Irish|Scottish|Portuguese|Polish|Swedish|Norwegian|Danish|Indian|Chinese|Japanese|Mexican|Brazilian)\b(?! \w)",
    ),
    # people
    rule("name", rf"\b{MINE}(?:'s name is| is called| is named|'s called) (?P<value>{NAME})"),
    rule("name", rf"\b{MINE},? (?P<value>(?-i:{PROPER}))\b(?!')"),
    rule("name", rf"\b(?:I have|I've got|we have) (?:a|an) (?:\w+ )?(?P<rel>{REL}) (?:called|named) (?P<value>{NAME})"),
    # animals
    rule("pet", rf"{WHO}(?: have| has|'ve got| owns?| keeps?) (?:a|an|one|two|three) (?:\w+ )??(?P<value>{ANIMAL})\b"),
    rule(
        "pet",
        rf"{HAVE}{OFTEN} (?:got|adopted|bought|rescued) (?:a|an|another) (?:\w+ )??(?P<value>{ANIMAL})\b",
        dated=True,
    ),
    rule(
        "pet.{animal}",
        rf"{OWNER} (?:new )?{ANIMAL}(?:'s name is|(?: is|'s)(?: now)? (?:called|named)|,)?(?: now)? (?P<value>(?-i:{PROPER}))",
    ),
    rule(
        "pet.{animal}",
        rf"{HAVE}{OFTEN}(?: have| has|'ve got| owns?| keeps?| walks?| got| adopted| bought| rescued) (?:a|an|another|my|our) "
        rf"(?:\w+ )??{ANIMAL}(?:,? (?:called|named)|,) (?P<value>{NAME})",
        dated=True,
    ),
    rule(
        "pet.{animal}",
        rf"{OWNER} {ANIMAL},? ?(?P<value>(?-i:{PROPER}))?,? ?(?:has |just |recently )*(?:died|passed away)",
        ended=True,
        dated=True,
    ),
    rule(
        "pet",
        rf"{OWNER} {ANIMAL},? ?(?-i:{PROPER})?,? ?(?:has |just |recently )*(?:died|passed away)",
        value="{animal}",
        ended=True,
        dated=True,
    ),
    rule(
        "pet",
        rf"\b(?:I|we) (?:no longer have|don't have|do not have) (?:a|an|any|my|the|our) {ANIMAL}"
        rf"(?:{ENDS})?",
        value="{animal}",
        ended=True,
    ),
    rule(
        "pet",
        rf"\b(?:I|we) (?:gave away|rehomed|sold) (?:my|our|the) {ANIMAL}",
        value="{animal}",
        ended=True,
        dated=True,
    ),
    # body and food
    rule("allergy", rf"{BE}{OFTEN} (?:severely |badly |highly )?allergic to {LIST}", many=True),
    rule("allergy", rf"{WHO} (?:have|has) an? (?:severe |bad )?(?P<value>[a-z]+) allergy"),
    rule("allergy", rf"{WHO} (?:have|has) an allergy to {LIST}", many=True),
    rule("allergy", rf"{BE} (?:no longer|not) allergic to {LIST}", many=True, ended=True),
    rule("diet", rf"{BE}{OFTEN} (?:an? )?(?:strict )?(?P<value>{DIET})\b"),
    rule("diet", rf"{HAVE}{OFTEN} (?:became|become|gone|went|turned) (?:an? )?(?P<value>{DIET})\b", dated=True),
    rule("diet", rf"{BE} (?:no longer|not) (?:an? )?(?P<value>{DIET})\b", ended=True),
    rule(
        "diet",
        rf"{WHO}(?:{NOT}| never| no longer) (?:eats?|drinks?) (?P<what>[a-z][\w-]+(?: [a-z][\w-]+)??){END_EN}",
        value="no {what}",
    ),
    rule(
        "diet",
        rf"{HAVE}{OFTEN} (?:stopped|quit|given up|gave up) (?:eating|drinking) "
        rf"(?P<what>[a-z][\w-]+(?: [a-z][\w-]+)??){END_EN}",
        value="no {what}",
        dated=True,
    ),
    rule(
        "diet",
        r"\bI(?:'m| am)? (?:eat|eating|drink|drinking) (?P<what>[a-z][\w-]+) again\b",
        value="no {what}",
        ended=True,
    ),
    rule("health", rf"{WHO}(?: have| has|'ve got| suffers? from) (?P<value>{CONDITION})\b"),
    rule("health", rf"{HAVE}{OFTEN} (?:was |been |got )?diagnosed with {V}", dated=True),
    rule(
        "health",
        rf"{BE}{OFTEN} (?P<value>diabetic|asthmatic|epileptic|anaemic|anemic|dyslexic|colou?r-?blind|pregnant)\b",
    ),
    rule("medication", r"\bI(?:'m| am)? (?:take|taking) (?P<value>[a-z][\w-]+) (?:every|each|daily|twice|for my)\b"),
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
        rf"(?:'s| is|:)(?: now| still| definitely| by far)* {V}",
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
        rf"{WHO} would eat (?P<value>[^,;:!?()…]+?) every day, it's (?:my|the|his|her|their) favou?rite (?P<thing>[a-z]+)\b",
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
        rf"{HAVE}(?: can)?{OFTEN}(?: changed instruments and)?(?: plays?| learns?| practi[sc]es?| took up| taken up| started) "
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
        rf"{HAVE}{OFTEN}(?: sold (?:the|my|his|her) (?:old )?car and)? (?:got|bought|leased|purchased) (?P<value>{CAR}){END_EN}",
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
        rf"{OWNER}(?: new)? (?P<thing>{GROUP})(?: now)? (?:meets|rehearses|trains|is held|takes place|was moved to|has moved to|"
        rf"has been moved to|changed to|moved to|is)(?: now)? (?P<value>{DAYS})",
    ),
    rule(
        "detail.{thing}",
        rf"{WHO} (?:sings?|plays?|dances?|am|is) in an? (?P<thing>{GROUP}) (?:that|which) (?:meets|rehearses|trains) (?P<value>{DAYS})",
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
        rf"{OWNER}(?: new| current| own)? (?P<thing>{THING})(?:'s| is|:)(?: now| currently| still)* {V}",
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
        r"\bmy (?:new )?(?:phone|mobile|cell)(?: phone)?(?: number)?(?:'s| is)(?: now)? (?P<value>\+?\d[\d ().-]{5,18}\d)",
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
        rf"(?: (?:moved|rescheduled|postponed|pushed back|brought forward|scheduled|booked))?(?: to| for| from [^,;]+? to)? "
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
