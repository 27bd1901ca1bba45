"""The French words and phrases that the rules are made of. Pure."""

from __future__ import annotations

from services.cognition.extraction.patterns import CARS, END_FR, NAME, PROPER

RELATIONS = {
    "mere": "mother", "maman": "mother", "pere": "father", "papa": "father", "soeur": "sister", "frere": "brother",
    "fille": "daughter", "fils": "son", "femme": "wife", "epouse": "wife", "mari": "husband", "epoux": "husband",
    "conjoint": "partner", "conjointe": "partner", "compagne": "partner", "compagnon": "partner",
    "copine": "girlfriend", "copain": "boyfriend", "fiance": "fiance", "fiancee": "fiance", "chef": "boss",
    "patron": "boss", "patronne": "boss", "proprietaire": "landlord", "meilleur ami": "best_friend",
    "meilleure amie": "best_friend", "belle-mere": "mother_in_law", "beau-pere": "father_in_law",
    "grand-mere": "grandmother", "mamie": "grandmother", "grand-pere": "grandfather", "papi": "grandfather",
    "tante": "aunt", "oncle": "uncle", "cousin": "cousin", "cousine": "cousin", "niece": "niece", "neveu": "nephew",
    "ami": "friend", "amie": "friend", "colocataire": "roommate", "coloc": "roommate", "voisin": "neighbour",
    "voisine": "neighbour", "collegue": "colleague", "professeur": "teacher", "prof": "teacher",
    "medecin": "doctor", "docteur": "doctor", "dentiste": "dentist", "psy": "therapist", "therapeute": "therapist",
}  # fmt: skip
REL = (
    r"m[èe]re|maman|p[èe]re|papa|s(?:œ|oe)ur|fr[èe]re|fille|fils|femme|[ée]pouse|mari|[ée]poux|conjointe?|compagne|"
    r"compagnon|copine|copain|fianc[ée]e?|chef|patronne|patron|propri[ée]taire|meilleure? amie?|belle-m[èe]re|"
    r"beau-p[èe]re|grand-m[èe]re|mamie|grand-p[èe]re|papi|tante|oncle|cousine?|ni[èe]ce|neveu|amie?|colocataire|coloc|"
    r"voisine?|coll[èe]gue|professeur|prof|m[ée]decin|docteur|dentiste|psy|th[ée]rapeute"
)
NAMED = rf"(?:,? (?P<named>(?-i:{PROPER})),?)?"
MINE = (
    rf"(?:mon|ma|mes) (?:(?:grande?|petite?|nouve(?:au|l|lle)) )?(?P<rel>{REL})"
    r"(?: (?:aînée?|cadette?|cadet|jumelle|jumeau))?"
)
WHO = rf"(?:\bj(?:e |')|\bnous |\bon |\b{MINE}{NAMED} |\b(?P<named>{NAME}) )"
BE = rf"(?:\bje suis|\bnous sommes|\bon est|\b{MINE}{NAMED} est|\b(?P<named>{NAME}) est)"
HAVE = rf"(?:\bj'ai|\bnous avons|\bon a|\b{MINE}{NAMED} a|\b(?P<named>{NAME}) a)"
NEGATED = rf"(?:\bje |\bnous |\bon |\b{MINE}{NAMED} |\b(?P<named>{NAME}) )(?:n'|ne )"
WAS = (
    rf"(?:\bje (?:me )?suis|\bnous (?:nous )?sommes|\bon (?:s')?est|\b{MINE}{NAMED} (?:s')?est|"
    rf"\b(?P<named>{NAME}) (?:s')?est)"
)
NOT = r"(?:n'|ne )"
OFTEN = (
    r"(?: (?:maintenant|désormais|actuellement|toujours|récemment|enfin|aussi|vraiment|déjà|finalement|juste|beaucoup|"
    r"bien|tous les deux|énormément|tellement|tout juste))*"
)
V = r"(?P<value>[^,;:!?()…]+?)" + END_FR
LIKED = (
    r"(?P<value>[^,;:!?()…]+?(?:, (?:le |la |les |l')?[a-zéèêàç]+)*(?:,? et (?:le |la |les |l')?[a-zéèêàç'-]+(?: "
    r"[a-zéèêàç-]+)?)?)" + END_FR
)
LIST = (
    r"(?P<value>[^;:!?()…]+?)(?=\s*(?:[;:!?()…]|\.(?:\s|$)|$)|\s+(?:maintenant|parce|depuis|quand|mais|donc|"
    r"avec|en|pour)\b)"
)
AT = r"(?:à|au|aux|en|dans|près de|sur|chez)"
ANIMAL = (
    r"(?P<animal>chien|chienne|chiot|chat|chatte|chaton|lapin|hamster|perroquet|cheval|poney|poisson rouge|tortue|"
    r"cochon d'inde|perruche|serpent|lézard|furet|poule|oiseau|poisson)s?"
)
ANIMALS = {
    "chien": "dog", "chienne": "dog", "chiot": "dog", "chat": "cat", "chatte": "cat", "chaton": "cat",
    "lapin": "rabbit", "hamster": "hamster", "perroquet": "parrot", "cheval": "horse", "poney": "horse",
    "poisson rouge": "goldfish",
    "tortue": "turtle", "cochon d'inde": "guinea pig", "perruche": "bird", "serpent": "snake", "lezard": "lizard",
    "furet": "ferret", "poule": "chicken", "oiseau": "bird", "poisson": "fish",
}  # fmt: skip
"""How animals are called → what they are, as in English."""
SPORTS = (
    r"(?:escalade|escrime|aviron|badminton|judo|karaté|tir à l'arc|tennis(?: de table)?|ping-pong|water-polo|"
    r"handball|curling|"
    r"squash|patinage(?: artistique)?|volley(?:-ball)?|rugby|vélo|cyclisme|boxe|foot(?:ball)?|basket(?:-ball)?|"
    r"baseball|hockey|"
    r"golf|natation|course à pied|jogging|randonnée|yoga|pilates|surf|ski|snowboard|voile|kayak|canoë|lutte|"
    r"gymnastique|"
    r"plongée|taekwondo|aïkido|triathlon|cricket|padel|danse|équitation)"
)
INSTRUMENTS = (
    r"(?:piano|guitare(?: électrique| basse)?|violon|alto|violoncelle|contrebasse|flûte|batterie|clarinette|saxophone|"
    r"trompette|trombone|harpe|accordéon|ukulélé|basse|hautbois|orgue|banjo|mandoline|basson|harmonica|cor|tuba|"
    r"clavier|"
    r"cornemuse)"
)
GROUP = (
    r"(?:chorale|chœur|groupe|orchestre|club(?: de lecture| d'échecs)?|cours(?: de \w+| d'\w+)?|classe|leçon|"
    r"entraînement|"
    r"répétition|réunion|équipe)"
)
DAYS = (
    r"(?:(?:le |les |chaque |tous les )?(?:lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche)s?(?: (?:matin|"
    r"après-midi|soir))?s?"
    r"(?:(?: et |, )(?:le |les )?(?:lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche)s?(?: (?:matin|après-midi|"
    r"soir))?s?)*"
    r"(?: à (?:midi|\d{1,2} ?h(?: ?\d\d)?))?)"
)
CAR = rf"une? (?:[\w-]+ ){{0,2}}{CARS}(?: [\w-]+){{0,2}}?"
DAY = r"(?:lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche)"
MONTH = r"(?:janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre)"
DATE = rf"(?:le )?(?:{DAY} )?(?:\d{{1,2}}|1er) {MONTH}(?: \d{{4}})?"
CLOCK = r"(?: à (?:midi|minuit|\d{1,2} ?h(?: ?\d\d)?|\d{1,2}:\d\d|\d{1,2} heures))"
WHEN = (
    rf"(?:(?:{DATE}|(?:ce |le )?{DAY}(?: prochain)?|demain|ce soir|la semaine prochaine|le mois prochain|l'an prochain|"
    rf"l'année prochaine|en {MONTH}(?: \d{{4}})?|le \d{{1,2}}|dans (?:\d+|deux|trois|quatre) (?:jours|semaines|mois))"
    rf"(?: (?:matin|après-midi|soir))?{CLOCK}?|à (?:midi|\d{{1,2}} ?h(?: ?\d\d)?))"
)
EVENT = (
    r"(?:(?:rendez-vous|rdv)(?: (?:chez (?:le|la|l'|mon|ma) ?|médical|avec (?:le|la|mon|ma) )[\w-]*)?|contrôle|"
    r"entretien|"
    r"examen|réunion|vol|train|opération|mariage|leçon|cours|échéance|présentation|concert|fête|conférence)"
    r"(?: (?:de|d'|du) ?[\w-]+)?"
)
THING = (
    r"(?:code|numéro|pointure|taille|adresse|casier|voiture|vélo|moto|téléphone|portable|ordinateur|tablette|"
    r"appareil photo|"
    r"banque|salle de sport|école|classe|équipe|groupe|place|chambre|bureau|pseudo|réseau|opérateur|fournisseur|"
    r"médecin|"
    r"dentiste|psy|instrument|matière|sujet|projet|horaire|emploi du temps|budget|salaire|loyer|objectif|forfait|"
    r"abonnement|assurance|compagnie|passe-temps|titre|combinaison|éditeur|navigateur|langue|trajet|régime|boisson|"
    r"petit-déjeuner|sonnerie|thermostat|hôtel|bus|coiffeur|coiffeuse|garagiste|comptable|avocat|avocate|entraîneur|"
    r"coach)"
    r"(?: (?:de|du|d'|des) ?(?:la |l')?[\w-]+)?(?: (?!est|c'est)[a-zéè]+)??"
)
CONDITION = (
    r"(?:(?:du |de l'|de la |des |une? |d'|de )?(?:diabète|asthme|épilepsie|migraines?|arthrite|arthrose|"
    r"hypertension|anxiété|"
    r"dépression|insomnies?|eczéma|psoriasis|maladie cœliaque|tdah|autisme|dyslexie|cancer|anémie|rhume des foins|"
    r"acouphènes?|scoliose|endométriose|hypothyroïdie))"
)
JOB = (
    r"(?:infirmi(?:er|ère)|médecin|professeure?|enseignante?|institut(?:eur|rice)|ingénieure?|développeu(?:r|se)|"
    r"programmeu(?:r|se)|graphiste|avocate?|architecte|comptable|boulang(?:er|ère)|chef|cuisini(?:er|ère)|"
    r"serveu(?:r|se)|"
    r"électricien(?:ne)?|plombi(?:er|ère)|menuisi(?:er|ère)|mécanicien(?:ne)?|pilote|chauffeu(?:r|se)|journaliste|"
    r"écrivaine?|traduct(?:eur|rice)|bibliothécaire|scientifique|cherch(?:eur|euse)|étudiante?|dentiste|"
    r"pharmacien(?:ne)?|"
    r"thérapeute|psychologue|photographe|musicien(?:ne)?|peintre|act(?:eur|rice)|agricult(?:eur|rice)|jardini(?:er|"
    r"ère)|"
    r"pompi(?:er|ère)|polici(?:er|ère)|soldat|vétérinaire|sage-femme|chirurgien(?:ne)?|consultante?|direct(?:eur|rice)|"
    r"secrétaire|caissi(?:er|ère)|vendeu(?:r|se)|analyste|nounou|ambulanci(?:er|ère)|tailleu(?:r|se)|soudeu(?:r|se)|"
    r"chimiste|boucher|"
    r"fleuriste|auteure?|édit(?:eur|rice)|coiffeu(?:r|se)|apicult(?:eur|rice)|géologue|biologiste|économiste|"
    r"physicien(?:ne)?|"
    r"maçon|pêcheur|(?!psycho)[a-zéè]{3,}logue)(?: d'[\w-]+)?"
)
DIET = (
    r"(?:végane?|végétalien(?:ne)?|végétarien(?:ne)?|pescétarien(?:ne)?|flexitarien(?:ne)?|cœliaque|"
    r"intolérante? au (?:lactose|gluten))"
)
LANGUAGE = (
    r"(?:anglais|français|espagnol|allemand|italien|portugais|néerlandais|russe|arabe|mandarin|chinois|japonais|coréen|"
    r"hindi|turc|polonais|suédois|norvégien|danois|finnois|grec|hébreu|ukrainien|roumain|tchèque|catalan|breton|"
    r"gallois)"
)
LANGUAGES = rf"(?P<value>(?:couramment )?(?:l'|le )?{LANGUAGE}(?:(?:, | et |, et )(?:l'|le )?{LANGUAGE})*)"
SPORT = r"(?P<value>[a-zéèêàç][\wéèêàç'-]+(?: [a-zéèêàç][\w'-]+)?)" + END_FR
OWNED = (
    r"(?:voiture|maison|appartement|vélo|moto|camionnette|camion|bateau|piano|guitare|violon|appareil photo|ordinateur|"
    r"téléphone|tablette|tente|trottinette|scooter|télescope|caravane|drone|tesla|toyota|volvo|honda|ford|renault|"
    r"peugeot|"
    r"bmw|fiat)"
)
PARTICLE = r"(?:à |au |aux |de |du |d'|des |de l'|de la |le |la |les |l')"
MARRIED = r"(?P<value>mari|divorc|fianc|pacs)ée?s?\b"


def owned(thing: str) -> str:
    """Somebody's thing: « mon plat », « le plat d'Ada »."""
    return rf"(?:\b(?:mon|ma|mes|notre|nos) {thing}|(?:\b(?:le|la|les) |\bl'){thing} (?:de |d')(?P<named>{NAME}))"
