"""English: where people live and work, who they and theirs are, body and food; as ``french_life.py``. Pure."""

from __future__ import annotations

from services.cognition.extraction.english_words import (
    ANIMAL,
    BE,
    CONDITION,
    DATE,
    DIET,
    ENDS,
    HAVE,
    JOB,
    LIST,
    MINE,
    NOT,
    OFTEN,
    OWNER,
    REL,
    WHO,
    V,
)
from services.cognition.extraction.patterns import END_EN, NAME, PROPER, Rule, rule
from services.cognition.extraction.values import is_place, is_workplace

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
        rf"{WHO}{OFTEN} (?:have|has|rents?|bought) an? (?:[\w-]+ ){{0,2}}(?:flat|apartment|house|home|studio|room) "
        rf"in {V}",
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
    rule(
        "age",
        rf"{HAVE}{OFTEN} turned (?P<value>\d{{1,3}})\b(?=\s*(?:[.,!;]|$)| (?:today|yesterday|last|this|in|on|and|a|"
        rf"two|three) )",
    ),
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
        r"Dutch|Irish|Scottish|Portuguese|Polish|Swedish|Norwegian|Danish|Indian|Chinese|Japanese|Mexican|"
        r"Brazilian)\b(?! \w)",
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
        rf"{OWNER} (?:new )?{ANIMAL}(?:'s name is|(?: is|'s)(?: now)? (?:called|named)|,)?(?: now)? "
        rf"(?P<value>(?-i:{PROPER}))",
    ),
    rule(
        "pet.{animal}",
        rf"{HAVE}{OFTEN}(?: have| has|'ve got| owns?| keeps?| walks?| got| adopted| bought| rescued) (?:a|an|"
        rf"another|my|our) "
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
)
