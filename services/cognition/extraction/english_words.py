"""The English words and phrases that the rules are made of. Pure."""

from __future__ import annotations

from services.cognition.extraction.patterns import CARS, END_EN, NAME, PROPER

RELATIONS = {
    "mother": "mother", "mom": "mother", "mum": "mother", "father": "father", "dad": "father", "sister": "sister",
    "brother": "brother", "daughter": "daughter", "son": "son", "wife": "wife", "husband": "husband",
    "partner": "partner", "girlfriend": "girlfriend", "boyfriend": "boyfriend", "fiance": "fiance", "fiancee": "fiance",
    "boss": "boss", "manager": "boss", "landlord": "landlord", "landlady": "landlord", "best friend": "best_friend",
    "mother-in-law": "mother_in_law", "father-in-law": "father_in_law", "grandmother": "grandmother",
    "grandma": "grandmother", "grandfather": "grandfather", "grandpa": "grandfather", "aunt": "aunt", "uncle": "uncle",
    "cousin": "cousin", "niece": "niece", "nephew": "nephew", "friend": "friend", "roommate": "roommate",
    "flatmate": "roommate", "neighbour": "neighbour", "neighbor": "neighbour", "colleague": "colleague",
    "coworker": "colleague", "teacher": "teacher", "doctor": "doctor", "dentist": "dentist", "therapist": "therapist",
}  # fmt: skip
REL = "|".join(sorted(RELATIONS, key=len, reverse=True))
NAMED = rf"(?:,? (?P<named>(?-i:{PROPER})),?)?"
MINE = rf"my (?:(?:older|younger|little|big|new|late|eldest|youngest) )?(?P<rel>{REL})"
SELF = rf"(?:\b(?:I|we)|\b{MINE}{NAMED})"
WHO = rf"(?:\b(?:I|we)|\b{MINE}{NAMED}|\b(?P<named>{NAME}))"
BE = rf"(?:\bI(?:'m| am)|\bwe(?:'re| are)|\b{MINE}{NAMED}(?:'s| is)|\b(?P<named>{NAME})(?:'s| is))"
HAVE = rf"(?:\b(?:I|we)(?:'ve| have)?|\b{MINE}{NAMED}(?:'s| has)?|\b(?P<named>{NAME})(?:'s| has)?)"
OWNER = rf"(?:\b(?:my|our)|\b(?P<named>{NAME})'s)"
OFTEN = (
    r"(?: (?:now|currently|still|just|recently|finally|also|actually|really|absolutely|always|already|both|mostly))*"
)
NOT = r"(?: (?:do not|don't|does not|doesn't))"
ENDS = r"(?: any ?more| any longer)"
V = r"(?P<value>[^,;:!?()…]+?)" + END_EN
LIKED = (
    r"(?!the (?!sea\b|beach|mountains|outdoors|ocean|countryside|rain|snow|cold|heat|summer|winter|(?-i:[A-Z])))"
    r"(?P<value>[^,;:!?()…]+?(?:, [a-z]+)*(?:,? and [a-z-]+(?: [a-z-]+)?)?)" + END_EN
)
LIST = (
    r"(?P<value>[^;:!?()…]+?)(?=\s*(?:[;:!?()…]|\.(?:\s|$)|$)|\s+(?:now|because|since|when|but|so|with|in|at|on|for)\b)"
)
ANIMAL = (
    r"(?P<animal>dog|cat|puppy|kitten|rabbit|hamster|parrot|horse|pony|goldfish|turtle|tortoise|guinea pig|budgie|"
    r"snake|"
    r"lizard|ferret|hen|chicken|bird|fish)s?"
)
ANIMALS = (
    {"puppy": "dog", "kitten": "cat", "pony": "horse", "budgie": "bird", "hen": "chicken"}
    | {
        name: name
        for name in [
            "dog",
            "cat",
            "rabbit",
            "hamster",
            "parrot",
            "horse",
            "goldfish",
            "turtle",
            "tortoise",
            "snake",
            "lizard",
            "ferret",
            "chicken",
            "bird",
            "fish",
        ]
    }
    | {"guinea pig": "guinea pig"}
)
"""How animals are called → what they are."""
SPORTS = (
    r"(?:climbing|bouldering|fencing|rowing|badminton|judo|karate|archery|(?:table |beach )?tennis|water polo|"
    r"handball|curling|"
    r"squash|figure skating|volleyball|rugby|cycling|boxing|football|soccer|basketball|baseball|hockey|golf|"
    r"swimming|running|"
    r"jogging|hiking|yoga|pilates|surfing|skiing|snowboarding|sailing|kayaking|canoeing|wrestling|gymnastics|"
    r"skating|diving|"
    r"taekwondo|aikido|triathlon|cricket|padel|dancing|horse riding)"
)
INSTRUMENTS = (
    r"(?:piano|(?:electric |bass |acoustic )?guitar|violin|viola|cello|double bass|flute|drums|clarinet|saxophone|"
    r"trumpet|"
    r"trombone|harp|accordion|ukulele|bass|oboe|organ|banjo|mandolin|bassoon|harmonica|recorder|horn|tuba|keyboard|"
    r"bagpipes)"
)
GROUP = (
    r"(?:choir|band|orchestra|book club|chess club|club|reading group|group|class|course|lesson|training|practice|"
    r"rehearsal|"
    r"yoga class|dance class|language class|study group|meeting|team)"
)
DAYS = (
    r"(?:(?:on |every )?(?:mon|tues|wednes|thurs|fri|satur|sun)days?(?: (?:morning|afternoon|evening|night)s?)?"
    r"(?:(?: and |, )(?:mon|tues|wednes|thurs|fri|satur|sun)days?(?: (?:morning|afternoon|evening|night)s?)?)*"
    r"(?: at (?:noon|\d{1,2}(?::\d\d)?(?: ?[ap]m)?))?)"
)
CAR = rf"an? (?:[\w-]+ ){{0,2}}{CARS}(?: [\w-]+){{0,2}}?"
WEEKDAY = r"(?:mon|tues|wednes|thurs|fri|satur|sun)day"
MONTH = (
    r"(?:january|february|march|april|may|june|july|august|september|october|november|december|jan|feb|mar|apr|jun|jul|"
    r"aug|sept?|oct|nov|dec)\.?"
)
DATE = (
    rf"(?:(?:the )?\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {MONTH}|{MONTH} (?:the )?\d{{1,2}}(?:st|nd|rd|th)?)(?:,? \d{{4}})?"
)
CLOCK = r"(?: ?(?:at|from) (?:noon|midnight|\d{1,2}(?::\d\d)?(?: ?[ap]\.?m\.?)?(?: o'clock)?))"
WHEN = (
    rf"(?:(?:(?:on |this |next |the )?(?:{WEEKDAY}|{DATE})|tomorrow|tonight|next (?:week|month|year|{MONTH})|in {MONTH}"
    rf"(?: \d{{4}})?|the \d{{1,2}}(?:st|nd|rd|th)|in (?:\d+|two|three|four) (?:days|weeks|months))"
    rf"(?: (?:morning|afternoon|evening|night))?{CLOCK}?|at (?:noon|\d{{1,2}}(?::\d\d)?(?: ?[ap]\.?m\.?)?))"
)
EVENT = (
    r"(?:(?:dentist|doctor|doctor's|dental|medical|hair|eye|vet|job|work|driving|piano|parent-teacher|staff|team|"
    r"follow-up)"
    r"(?:'s)? )?(?:appointment|check-?up|interview|exam|test|meeting|flight|train|surgery|operation|wedding|lesson|"
    r"deadline|presentation|concert|party|conference)"
)
THING = (
    r"(?:(?!favou?rite|new|own)[a-z'-]+ ){0,2}(?:code|pin|number|size|address|locker|car|bike|bicycle|motorbike|phone|"
    r"laptop|computer|tablet|camera|bank|gym|school|class|team|type|seat|room|desk|office|username|nickname|network|"
    r"provider|doctor|dentist|therapist|instrument|major|subject|project|schedule|shift|bedtime|budget|salary|rent|"
    r"goal|"
    r"plan|subscription|insurance|airline|hobby|title|combination|editor|browser|language|route|commute|diet|drink|"
    r"breakfast|ringtone|thermostat|hotel|train|bus|barber|hairdresser|mechanic|accountant|lawyer|coach|trainer)"
)
CONDITION = (
    r"(?:type [12] )?(?:diabetes|asthma|epilepsy|migraines?|arthritis|hypertension|high blood pressure|anxiety|"
    r"depression|"
    r"insomnia|eczema|psoriasis|celiac disease|coeliac disease|adhd|autism|dyslexia|cancer|anaemia|anemia|hay fever|"
    r"tinnitus|scoliosis|endometriosis|hypothyroidism)"
)
JOB = (
    r"(?:[a-z]+ )?(?:nurse|doctor|teacher|engineer|developer|programmer|designer|lawyer|architect|accountant|baker|"
    r"chef|"
    r"cook|waiter|waitress|barista|electrician|plumber|carpenter|mechanic|pilot|driver|journalist|writer|translator|"
    r"librarian|scientist|researcher|professor|student|dentist|pharmacist|therapist|psychologist|photographer|musician|"
    r"painter|actor|actress|farmer|gardener|firefighter|police officer|soldier|vet|veterinarian|midwife|surgeon|"
    r"consultant|manager|director|secretary|cashier|salesman|saleswoman|analyst|freelancer|nanny|paramedic|social "
    r"worker|tailor|welder|chemist|"
    r"builder|butcher|fisherman|florist|author|editor|tutor|bartender|hairdresser|barber|beekeeper|geologist|biologist|"
    r"economist|physicist|(?!optim|pessim|femin|perfection|real|minimal|ideal|tour|final)[a-z]{3,}(?:ologist|keeper|"
    r"smith|"
    r"wright|maker|trician|tician))"
)
DIET = (
    r"(?:vegan|vegetarian|pescatarian|flexitarian|gluten[- ]free|lactose[- ]intolerant|gluten[- ]intolerant|coeliac|"
    r"celiac|teetotal)"
)
LANGUAGE = (
    r"(?:english|french|spanish|german|italian|portuguese|dutch|russian|arabic|mandarin|chinese|japanese|korean|hindi|"
    r"turkish|polish|swedish|norwegian|danish|finnish|greek|hebrew|ukrainian|romanian|czech|catalan|breton|welsh)"
)
LANGUAGES = rf"(?P<value>(?:(?:fluent|a little|some) )?{LANGUAGE}(?:(?:, | and |, and ){LANGUAGE})*)"
SPORT = r"(?P<value>(?:playing |learning |doing |to play |to learn )?(?:the )?[a-z][\w-]+(?: [a-z][\w-]+)?)" + END_EN
OWNED = (
    r"(?:car|house|flat|apartment|bike|bicycle|motorbike|motorcycle|van|truck|boat|piano|guitar|violin|camera|laptop|"
    r"phone|tablet|tent|scooter|telescope|caravan|drone|tesla|toyota|volvo|honda|ford|renault|peugeot|bmw|fiat)"
)
