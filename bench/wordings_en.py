"""English wordings of the made-up dialogues: every list is as long as its French counterpart, place by place."""

from __future__ import annotations

from bench.wordings import Attribute, Wordings, listed

CITIES = listed("""
    Lisbon | Oslo | Kyoto | Dakar | Lima | Turin | Galway | Quito | Brno | Ghent | Tromso | Porto | Leeds | Graz
    | Malmo | Cadiz | Utrecht | Ottawa | Sapporo | Cork | Bergen | Gdansk | Seville | Basel
""")
EMPLOYERS = listed("""
    Northwind Bakery | Halden Optics | the Meridian Clinic | Castor Logistics | Blue Fjord | Tamarind Press |
    Orchard Labs | Kestrel Airways | the city archive | Silverpine Farms | Atlas Ferries | Quill and Sons |
    Lantern Films | the harbour authority | Copper Street School | Vega Robotics
""")
JOBS = listed("""
    a carpenter | a nurse | a translator | a beekeeper | an accountant | a bus driver | a geologist | a tailor |
    a pharmacist | a librarian | an electrician | a chemist | a baker | a pilot | a gardener | a welder
""")
CARS = listed("""
    a red Fiat Panda | an old Volvo 240 | a Renault Zoe | a grey Toyota Yaris | a Skoda Octavia | a Kia Niro | a
    Honda Jazz | a white Peugeot 208 | a Mazda MX-5 | a Dacia Sandero | a blue Citroen C3 | a Seat Ibiza | a
    Subaru Forester | a Mini Cooper | a Nissan Leaf | a Volkswagen Polo
""")
DOGS = listed("""
    Biscuit | Moka | Pixel | Taro | Nougat | Ziggy | Pepper | Olive | Kiwi | Bruno | Luna | Caramel | Muffin |
    Zelda | Pico | Hazel
""")
DISHES = listed("""
    mushroom risotto | onion soup | lentil curry | grilled sardines | pumpkin ravioli | fish tacos | goulash |
    leek pie | paella | ramen | stuffed peppers | apple crumble | couscous | beef stew | gnocchi | falafel
""")
SPORTS = listed("""
    climbing | fencing | rowing | badminton | judo | archery | table tennis | water polo | handball | curling |
    squash | figure skating | volleyball | rugby | cycling | boxing
""")
INSTRUMENTS = listed("""
    cello | clarinet | accordion | harp | banjo | oboe | trombone | mandolin | ukulele | bassoon | drums | viola
    | flute | saxophone | organ | trumpet
""")
PHONES = listed("""
    a Pixel 8 | a Fairphone 5 | an iPhone 13 | a Galaxy S22 | a Nokia G42 | an Xperia 10 | a Moto G84 | an
    iPhone SE | a Zenfone 10 | a OnePlus 12 | a Redmi Note 12 | a Galaxy A54 | a Pixel 7a | an Honor 90 | a
    Nothing Phone 2 | a Fairphone 4
""")
MEETINGS = listed("""
    Monday evenings | Tuesday mornings | Wednesday afternoons | Thursday evenings | Friday mornings | Saturday
    afternoons | Sunday mornings | Monday mornings | Tuesday evenings | Wednesday evenings | Thursday mornings |
    Friday evenings | Saturday mornings | Sunday evenings | Monday afternoons | Tuesday afternoons
""")

ATTRIBUTES = {
    "residence": Attribute(
        values=CITIES,
        others=("{who} lives in {v}.", "{who} has a small flat in {v}, close to the station."),
        others_now=("{who} moved to {v}.", "{who} lives in {v} now.", "{who} has just moved to {v} for good."),
        others_asked=("Where does {who} live?", "Which city does {who} live in these days?"),
        others_before="Where did {who} live before?",
        own=("I live in {v}.", "I have a small flat in {v}, close to the station."),
        own_now=("I moved to {v}.", "I live in {v} now.", "I have just moved to {v} for good."),
        own_asked=("Where do I live?", "Which city do I live in these days?"),
        own_before="Where did I live before?",
    ),
    "employer": Attribute(
        values=EMPLOYERS,
        others=("{who} works at {v}.", "{who} has a desk at {v} and likes it there."),
        others_now=("{who} works at {v} now.", "{who} changed jobs and works for {v}.", "{who} started at {v}."),
        others_asked=("Where does {who} work?", "Which employer does {who} work for at the moment?"),
        others_before="Where did {who} work before?",
        own=("I work at {v}.", "I have a desk at {v} and like it there."),
        own_now=("I work at {v} now.", "I changed jobs and work for {v}.", "I started at {v}."),
        own_asked=("Where do I work?", "Which employer do I work for at the moment?"),
        own_before="Where did I work before?",
    ),
    "job": Attribute(
        values=JOBS,
        others=("{who} is {v}.", "{who} earns a living as {v}."),
        others_now=("{who} is {v} now.", "{who} retrained and became {v}.", "These days {who} works as {v}."),
        others_asked=("What is {who}'s profession?", "What does {who} do for a living?"),
        others_before="What did {who} do for a living before?",
        own=("I am {v}.", "I earn my living as {v}."),
        own_now=("I am {v} now.", "I retrained and became {v}.", "These days I work as {v}."),
        own_asked=("What is my profession?", "What do I do for a living?"),
        own_before="What did I do for a living before?",
    ),
    "car": Attribute(
        values=CARS,
        others=("{who} drives {v}.", "{who} goes everywhere in {v}."),
        others_now=("{who} drives {v} now.", "{who} sold the old car and bought {v}.", "{who} got {v} instead."),
        others_asked=("What car does {who} drive?", "Which car does {who} have?"),
        others_before="What car did {who} drive before?",
        own=("I drive {v}.", "I go everywhere in {v}."),
        own_now=("I drive {v} now.", "I sold the old car and bought {v}.", "I got {v} instead."),
        own_asked=("What car do I drive?", "Which car do I have?"),
        own_before="What car did I drive before?",
    ),
    "dog": Attribute(
        values=DOGS,
        others=("{who}'s dog is called {v}.", "{who} walks a dog named {v} along the canal."),
        others_now=("{who} has a new dog called {v}.", "{who}'s dog is called {v} now.", "{who} adopted a dog, {v}."),
        others_asked=("What is {who}'s dog called?", "What is the name of {who}'s dog?"),
        others_before="What was {who}'s dog called before?",
        own=("My dog is called {v}.", "I walk a dog named {v} along the canal."),
        own_now=("I have a new dog called {v}.", "My dog is called {v} now.", "I adopted a dog, {v}."),
        own_asked=("What is my dog called?", "What is the name of my dog?"),
        own_before="What was my dog called before?",
    ),
    "dish": Attribute(
        values=DISHES,
        others=("{who}'s favourite dish is {v}.", "{who} would eat {v} every day, it's the favourite dish."),
        others_now=(
            "{who}'s favourite dish is {v} now.",
            "{who} changed favourites: the dish is {v} these days.",
            "{who} likes {v} best of all dishes now.",
        ),
        others_asked=("What is {who}'s favourite dish?", "Which dish does {who} like best?"),
        others_before="What was {who}'s favourite dish before?",
        own=("My favourite dish is {v}.", "I would eat {v} every day, it's my favourite dish."),
        own_now=(
            "My favourite dish is {v} now.",
            "I changed favourites: the dish is {v} these days.",
            "I like {v} best of all dishes now.",
        ),
        own_asked=("What is my favourite dish?", "Which dish do I like best?"),
        own_before="What was my favourite dish before?",
    ),
    "sport": Attribute(
        values=SPORTS,
        others=("{who} does {v} twice a week.", "{who}'s sport is {v}, in a club behind the school."),
        others_now=("{who} took up {v} instead.", "{who}'s sport is {v} now.", "{who} switched to {v}."),
        others_asked=("What sport does {who} do?", "Which sport does {who} practise?"),
        others_before="What sport did {who} do before?",
        own=("I do {v} twice a week.", "My sport is {v}, in a club behind the school."),
        own_now=("I took up {v} instead.", "My sport is {v} now.", "I switched to {v}."),
        own_asked=("What sport do I do?", "Which sport do I practise?"),
        own_before="What sport did I do before?",
    ),
    "instrument": Attribute(
        values=INSTRUMENTS,
        others=("{who} plays the {v}.", "{who} practises an instrument every night, the {v}."),
        others_now=(
            "{who} plays the {v} now.",
            "{who} changed instruments and learns the {v}.",
            "{who} took up the {v}.",
        ),
        others_asked=("Which instrument does {who} play?", "What instrument does {who} practise?"),
        others_before="Which instrument did {who} play before?",
        own=("I play the {v}.", "I practise an instrument every night, the {v}."),
        own_now=("I play the {v} now.", "I changed instruments and learn the {v}.", "I took up the {v}."),
        own_asked=("Which instrument do I play?", "What instrument do I practise?"),
        own_before="Which instrument did I play before?",
    ),
    "phone": Attribute(
        values=PHONES,
        others=("{who} has {v} as a phone.", "{who}'s phone is {v}, with a cracked corner."),
        others_now=("{who} has a new phone, {v}.", "{who}'s phone is {v} now.", "{who} replaced the phone with {v}."),
        others_asked=("What phone does {who} have?", "Which phone is {who} using?"),
        others_before="What phone did {who} have before?",
        own=("I have {v} as a phone.", "My phone is {v}, with a cracked corner."),
        own_now=("I have a new phone, {v}.", "My phone is {v} now.", "I replaced my phone with {v}."),
        own_asked=("What phone do I have?", "Which phone am I using?"),
        own_before="What phone did I have before?",
    ),
    "choir": Attribute(
        values=MEETINGS,
        others=("{who}'s choir meets on {v}.", "{who} sings in a choir that rehearses on {v}."),
        others_now=(
            "{who}'s choir meets on {v} now.",
            "{who}'s choir was moved to {v}.",
            "{who}'s choir changed to {v}.",
        ),
        others_asked=("When does {who}'s choir meet?", "When does the choir of {who} rehearse?"),
        others_before="When did {who}'s choir meet before?",
        own=("My choir meets on {v}.", "I sing in a choir that rehearses on {v}."),
        own_now=("My choir meets on {v} now.", "My choir was moved to {v}.", "My choir changed to {v}."),
        own_asked=("When does my choir meet?", "When does my choir rehearse?"),
        own_before="When did my choir meet before?",
    ),
}

ENGLISH = Wordings(
    attributes=ATTRIBUTES,
    openings=(
        "",
        "By the way, ",
        "Oh, before I forget: ",
        "I heard it yesterday: ",
        "It came up at lunch: ",
        "You know, ",
    ),
    endings=("", " Just so you know.", " It was about time.", " Funny how things go.", " I only learnt it today."),
    activities=(
        "went kayaking",
        "repaired a wall",
        "picked cherries",
        "watched the eclipse",
        "baked bread",
        "painted a boat",
        "found a lost cat",
        "flew kites",
        "saw an opera",
        "planted a walnut tree",
        "played chess",
        "missed the last train",
        "photographed herons",
        "sang at a wedding",
        "ate oysters",
        "built a bookshelf",
    ),
    activities_asked=(
        "go kayaking",
        "repair a wall",
        "pick cherries",
        "watch the eclipse",
        "bake bread",
        "paint a boat",
        "find a lost cat",
        "fly kites",
        "see an opera",
        "plant a walnut tree",
        "play chess",
        "miss the last train",
        "photograph herons",
        "sing at a wedding",
        "eat oysters",
        "build a bookshelf",
    ),
    places=CITIES,
    event_told=(
        "{who} and I {activity} in {place}.",
        "We were in {place}, {who} and I, and {activity}.",
        "{who} and I {activity} when we were in {place}, and it rained the whole time.",
    ),
    event_where="Where did {who} and I {activity}?",
    event_who="With whom did I {activity} in {place}?",
    chatter=(
        "The {thing} at the {spot} {deed} again {when}.",
        "I spent {when} at the {spot} because of the {thing}, which {deed}.",
        "Do you think the {thing} {deed} because of the weather {when}?",
        "{who} told me about the {thing} at the {spot} {when}.",
        "Number {n} on my list is the {thing}: it {deed} {when}.",
        "We talked about the {spot} {when}, and {who} laughed about the {thing}.",
    ),
    things=listed("""
        coffee machine | printer | garden gate | old bicycle | heating | ticket office | radio | lawn mower |
        sewing machine | letter box | fish pond | doorbell | wheelbarrow | lamp | telescope | kettle
    """),
    spots=listed("""
        library | market | workshop | harbour | village hall | corner shop | post office | playground |
        allotment | swimming pool | museum | bus depot | vineyard | castle | lighthouse | town square
    """),
    deeds=listed("""
        broke down | made a strange noise | was repaired | disappeared | looked as good as new | got stuck | was
        painted green | surprised everyone | cost too much | stood in the rain | worked at last | smelled of
        smoke | was sold | fell over | came back | froze
    """),
    times=listed("""
        this morning | on Sunday | last week | in the evening | all afternoon | during the storm | at noon |
        before breakfast | after the concert | on the bank holiday | the whole weekend | at dawn
    """),
    replies=(
        "That sounds like quite a day. What happened with the {thing} afterwards, and what did {who} say?",
        "Thank you for telling me about the {spot}. Shall I remind you of it {when}?",
        "I see. A {thing} that {deed} can be a nuisance, above all {when}. It is number {n} of the notes.",
        "Good to hear. Would you like a list of what to do about the {thing} at the {spot}?",
    ),
)
