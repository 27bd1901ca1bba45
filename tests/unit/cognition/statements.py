"""Sentences with the facts in them, English beside French, written by hand: what extraction is measured with.

A fact is written ``attribute=value``, of somebody named ``Name: attribute=value``, and with ``-`` in front when it
holds no longer. One form stands for both languages, or the English and the French one are parted by ``||``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """The same said in both languages, with what is to be drawn from it."""

    english: str
    french: str
    facts: tuple[str, ...]

    def expected(self, language: str) -> frozenset[str]:
        """The facts as that language has them."""
        place = 0 if language == "en" else -1
        return frozenset(fact.split("||")[place].strip() for fact in self.facts)


def says(english: str, french: str, *facts: str) -> Pair:
    return Pair(english, french, facts)


STATEMENTS = (
    # where somebody lives
    says("I live in Lyon.", "J'habite à Lyon.", "residence=Lyon"),
    says(
        "I'm living in Montreal at the moment.",
        "Je vis à Montréal en ce moment.",
        "residence=Montreal||residence=Montréal",
    ),
    says(
        "We live near Toulouse, in a small village.",
        "Nous habitons près de Toulouse, dans un petit village.",
        "residence=Toulouse",
    ),
    says("I moved to Berlin last year.", "J'ai déménagé à Berlin l'an dernier.", "residence=Berlin"),
    says("I've just moved back to Dublin.", "Je viens de m'installer à Dublin.", "residence=Dublin"),
    says(
        "I moved from Nantes to Rennes.", "J'ai déménagé de Nantes à Rennes.", "residence=Rennes", "-residence=Nantes"
    ),
    says("I no longer live in Paris.", "Je n'habite plus à Paris.", "-residence=Paris"),
    says("I don't live in Oslo any more.", "Je ne vis plus à Oslo.", "-residence=Oslo"),
    says("I used to live in Geneva.", "Avant, j'habitais à Genève.", "-residence=Geneva||-residence=Genève"),
    says("I live in a flat in Ghent.", "Je vis dans un appartement à Gand.", "residence=Ghent||residence=Gand"),
    says("My sister lives in Lyon.", "Ma sœur habite à Lyon.", "sister.residence=Lyon"),
    says(
        "My brother Paul lives in Nice.", "Mon frère Paul habite à Nice.", "Paul: residence=Nice", "brother.name=Paul"
    ),
    says(
        "Ada Fortin moved to Quebec.",
        "Ada Fortin a déménagé à Québec.",
        "Ada Fortin: residence=Quebec||Ada Fortin: residence=Québec",
    ),
    says("I grew up in Marseille.", "J'ai grandi à Marseille.", "hometown=Marseille"),
    says("I come from Senegal.", "Je viens de Dakar.", "hometown=Senegal||hometown=Dakar"),
    # work
    says("I work at Airbus.", "Je travaille chez Airbus.", "employer=Airbus"),
    says("I'm working for Hydro now.", "Je travaille maintenant pour Hydro.", "employer=Hydro"),
    says(
        "I just got a job at Ubisoft.", "Je viens de commencer, j'ai trouvé un poste chez Ubisoft.", "employer=Ubisoft"
    ),
    says("I joined Desjardins in March.", "J'ai rejoint Desjardins en mars.", "employer=Desjardins"),
    says("I don't work at Orange any more.", "Je ne travaille plus chez Orange.", "-employer=Orange"),
    says("I quit my job last week.", "J'ai quitté mon travail la semaine dernière.", "-employer="),
    says("I was laid off yesterday.", "J'ai été licencié hier.", "-employer="),
    says("I'm a nurse.", "Je suis infirmière.", "occupation=nurse||occupation=infirmière"),
    says("I work as a translator.", "Je travaille comme traductrice.", "occupation=translator||occupation=traductrice"),
    says(
        "I became a baker two years ago.",
        "Je suis devenu boulanger il y a deux ans.",
        "occupation=baker||occupation=boulanger",
    ),
    says(
        "My father is retired.", "Mon père est à la retraite.", "father.occupation=retired||father.occupation=retraité"
    ),
    says("My wife works at Renault.", "Ma femme travaille chez Renault.", "wife.employer=Renault"),
    # who somebody is
    says("My name is Camille.", "Je m'appelle Camille.", "name=Camille"),
    says("I'm 34 years old.", "J'ai 34 ans.", "age=34"),
    says("I just turned 40.", "Je viens d'avoir 40 ans.", "age=40"),
    says("My son is 7 years old.", "Mon fils a 7 ans.", "son.age=7"),
    says("My birthday is on 12 May.", "Mon anniversaire est le 12 mai.", "birthday=12 May||birthday=12 mai"),
    says("I was born on 3 June 1988.", "Je suis née le 3 juin 1988.", "birthday=3 June 1988||birthday=3 juin 1988"),
    says("I'm married.", "Je suis mariée.", "relationship_status=married||relationship_status=marié"),
    says(
        "We got divorced last spring.",
        "Nous avons divorcé le printemps dernier.",
        "relationship_status=divorced||relationship_status=divorcé",
    ),
    says("I am single.", "Je suis célibataire.", "relationship_status=single||relationship_status=célibataire"),
    says("I'm Canadian.", "Je suis canadienne.", "nationality=Canadian||nationality=canadienne"),
    # people and animals
    says("My sister is called Odile.", "Ma sœur s'appelle Odile.", "sister.name=Odile"),
    says("My daughter's name is Léa.", "Ma fille se prénomme Léa.", "daughter.name=Léa"),
    says("I have a cousin named Bruno.", "J'ai un cousin qui s'appelle Bruno.", "cousin.name=Bruno"),
    says("My boss Nadia is on holiday.", "Ma patronne Nadia est en vacances.", "boss.name=Nadia"),
    says("My dog is called Rex.", "Mon chien s'appelle Rex.", "pet.dog=Rex"),
    says("I have a cat.", "J'ai un chat.", "pet=cat||pet=chat"),
    says(
        "We adopted a rabbit named Noisette.",
        "Nous avons adopté un lapin nommé Noisette.",
        "pet=rabbit||pet=lapin",
        "pet.rabbit=Noisette",
    ),
    says("I no longer have a dog.", "Je n'ai plus de chien.", "-pet=dog||-pet=chien"),
    says("My cat died last week.", "Mon chat est mort la semaine dernière.", "-pet=cat||-pet=chat", "-pet.cat="),
    # body and food
    says("I'm allergic to peanuts.", "Je suis allergique aux arachides.", "allergy=peanuts||allergy=arachides"),
    says(
        "I'm allergic to cats and pollen.",
        "Je suis allergique aux chats et au pollen.",
        "allergy=cats||allergy=chats",
        "allergy=pollen",
    ),
    says("My son has an allergy to eggs.", "Mon fils a une allergie aux œufs.", "son.allergy=eggs||son.allergy=œufs"),
    says("I'm no longer allergic to milk.", "Je ne suis plus allergique au lait.", "-allergy=milk||-allergy=lait"),
    says("I'm vegetarian.", "Je suis végétarienne.", "diet=vegetarian||diet=végétarienne"),
    says("I've become vegan.", "Je suis devenu végane.", "diet=vegan||diet=végane"),
    says("I'm not vegan any more.", "Je ne suis plus végane.", "-diet=vegan||-diet=végane"),
    says("I don't eat pork.", "Je ne mange pas de porc.", "diet=no pork||diet=sans porc"),
    says("I stopped drinking coffee.", "J'ai arrêté de boire du café.", "diet=no coffee||diet=sans café"),
    says("I have asthma.", "J'ai de l'asthme.", "health=asthma||health=asthme"),
    says("I'm diabetic.", "Je suis diabétique.", "health=diabetic||health=diabétique"),
    # tastes
    says("I love jazz.", "J'adore le jazz.", "likes=jazz"),
    says(
        "I really like hiking in the mountains.",
        "J'aime beaucoup la randonnée en montagne.",
        "likes=hiking||likes=randonnée en montagne",
    ),
    says("I'm a big fan of Miyazaki films.", "Je suis fan de Miyazaki.", "likes=Miyazaki films||likes=Miyazaki"),
    says("I hate olives.", "Je déteste les olives.", "dislikes=olives"),
    says(
        "I don't like horror films.",
        "Je n'aime pas les films d'horreur.",
        "dislikes=horror films||dislikes=films d'horreur",
    ),
    says("I no longer like coffee.", "Je n'aime plus le café.", "dislikes=coffee||dislikes=café"),
    says(
        "My favourite colour is green.",
        "Ma couleur préférée est le vert.",
        "favourite.color=green||favourite.couleur=vert",
    ),
    says(
        "My favorite dish is couscous now.",
        "Mon plat préféré est maintenant le couscous.",
        "favourite.dish=couscous||favourite.plat=couscous",
    ),
    says(
        "Tintin is my favourite hero.", "Tintin est mon héros préféré.", "favourite.hero=Tintin||favourite.heros=Tintin"
    ),
    # what somebody does and has
    says("I play the cello.", "Je joue du violoncelle.", "instrument=cello||instrument=violoncelle"),
    says("I also play the piano.", "Je joue aussi du piano.", "other_instrument=piano"),
    says("I took up climbing.", "Je me suis mis à l'escalade.", "sport=climbing||sport=escalade"),
    says("I drive a red Fiat Panda.", "Je conduis une Fiat Panda rouge.", "car=red Fiat Panda||car=Fiat Panda rouge"),
    says("I sold my car.", "J'ai vendu ma voiture.", "-car=", "-possession=car||-possession=voiture"),
    says("I bought a new bike.", "J'ai acheté un nouveau vélo.", "possession=new bike||possession=nouveau vélo"),
    says("My locker code is 4417.", "Mon code de casier est 4417.", "detail.locker code=4417||detail.code casier=4417"),
    says("My new phone is a Fairphone 5.", "Mon nouveau téléphone est un Fairphone 5.", "device=Fairphone 5"),
    says(
        "I switched from coffee to tea.",
        "Je suis passé du café au thé.",
        "habit=tea||habit=thé",
        "-habit=coffee||-habit=café",
        "dislikes=coffee||dislikes=café",
    ),
    says("My phone number is 514-555-0199.", "Mon numéro de téléphone est le 514-555-0199.", "phone=514-555-0199"),
    says("My email is ada@example.org.", "Mon courriel est ada@example.org.", "email=ada@example.org"),
    says(
        "I speak Italian and German.",
        "Je parle italien et allemand.",
        "language=Italian||language=italien",
        "language=German||language=allemand",
    ),
    says("I'm learning Japanese.", "J'apprends le japonais.", "study=Japanese||study=japonais"),
    says(
        "I have a dentist appointment on Friday.",
        "J'ai un rendez-vous chez le dentiste vendredi.",
        "detail.dentist appointment=on Friday||detail.rendez-vous chez dentiste=vendredi",
    ),
    says(
        "My exam has been moved to 14 June.",
        "Mon examen a été reporté au 14 juin.",
        "detail.exam=14 June||detail.examen=14 juin",
    ),
    says(
        "We're flying to Lisbon next month.",
        "Nous partons à Lisbonne le mois prochain.",
        "plan=flying to Lisbon||plan=partons à Lisbonne",
    ),
    says(
        "My choir meets on Thursdays.",
        "Ma chorale se réunit le jeudi.",
        "detail.choir=on Thursdays||detail.chorale=jeudi",
    ),
    says(
        "I live in Metz and I work at Thales.",
        "J'habite à Metz et je travaille chez Thales.",
        "residence=Metz",
        "employer=Thales",
    ),
)
NO_STATEMENTS = (
    # questions
    says("Do I live in Paris?", "Est-ce que j'habite à Paris ?"),
    says("Where did I say I live?", "Où est-ce que j'ai dit que j'habite ?"),
    says("I live in Paris, don't I?", "J'habite à Paris, non ?"),
    says("What is my favourite colour?", "Quelle est ma couleur préférée ?"),
    # what is cut off, or says two things
    says("I live in St. Louis.", "J'habite à St. Malo."),
    says("I moved to Lyon then back to Paris.", "J'ai déménagé à Lyon puis à Paris."),
    says("I like neither beer nor wine.", "J'aime ni la bière ni le vin."),
    # hypotheses and wishes
    says("If I lived in Rome, I would eat ice cream.", "Si j'habitais à Rome, je mangerais des glaces."),
    says("I might move to Oslo.", "Je vais peut-être déménager à Oslo."),
    says("I wish I had a dog.", "J'aimerais avoir un chien."),
    says("I would love a Tesla.", "J'adorerais une Tesla."),
    says("Maybe I'm allergic to nuts.", "Je suis peut-être allergique aux noix."),
    says("Imagine I live in Tokyo.", "Imagine que j'habite à Tokyo."),
    says("Suppose my name is Bob.", "Supposons que je m'appelle Bob."),
    says("I'm thinking of moving to Spain.", "J'envisage de déménager en Espagne."),
    # what others say, quotations, texts to work on
    says("Bob said he lives in Berlin.", "Bob a dit qu'il habite à Berlin."),
    says("She told me: “I live in Vienna and love it.”", "Elle m'a dit : « J'habite à Vienne et j'adore ça. »"),
    says("According to the paper, Ada moved to Lima.", "Selon le journal, Ada a déménagé à Lima."),
    says("Translate into French: I live in London.", "Traduis en anglais : j'habite à Londres."),
    says("Write a story in which I live in Narnia.", "Écris une histoire où j'habite à Narnia."),
    says("In my dream I live in a castle in Scotland.", "Dans mon rêve, j'habite à Versailles."),
    says("> I work at Apple\nwhat should I answer him?", "> Je travaille chez Apple\nque dois-je lui répondre ?"),
    says(
        "The sentence reads “my dog is called Fido and he barks”.",
        "La phrase « mon chien s'appelle Fido et il aboie » est jolie.",
    ),
    # manners of speaking
    says("I live in fear of spiders.", "Je vis dans la peur des araignées."),
    says("I work at night.", "Je travaille la nuit."),
    says("I work from home on Fridays.", "Je travaille à la maison le vendredi."),
    says("I'm a bit tired.", "Je suis un peu fatigué."),
    says("I love it when you explain things.", "J'aime quand tu expliques."),
    says("I like the way you put it.", "J'aime ta façon de le dire."),
    says("My problem is that it never works.", "Mon problème est que ça ne marche jamais."),
    says("My car is broken.", "Ma voiture est en panne."),
    says("I have a question about cats.", "J'ai une question sur les chats."),
    says("That sounds like fun!", "Ça a l'air amusant !"),
    says("The bank is closed on Sunday.", "La banque est fermée le dimanche."),
    says("I'm going to bed.", "Je vais me coucher."),
    says("I turned 180 degrees: now it works.", "J'ai 34 messages non lus."),
    says("Paris is beautiful in spring.", "Paris est belle au printemps."),
    says("Just kidding, I live on the moon.", "Je plaisante, j'habite sur la Lune."),
)
