"""French wordings of the made-up dialogues: every list is as long as its English counterpart, place by place."""

from __future__ import annotations

from bench.wordings import Attribute, Wordings, listed

CITIES = listed(
    """
    Lisbonne | Oslo | Kyoto | Dakar | Lima | Turin | Galway | Quito | Brno | Gand | Tromso | Porto | Leeds |
    Graz | Malmö | Cadix | Utrecht | Ottawa | Sapporo | Cork | Bergen | Gdansk | Séville | Bâle
"""
)
EMPLOYERS = listed(
    """
    la boulangerie Northwind | Halden Optique | la clinique Méridien | Castor Logistique | Fjord Bleu | les
    presses du Tamarin | les laboratoires Orchard | la compagnie aérienne Kestrel | l'hôtel de ville | la ferme
    des Pins | les traversiers Atlas | l'imprimerie Quill | Lanterne Films | la capitainerie du port | l'école
    de la rue du Cuivre | Véga Robotique
"""
)
JOBS = listed(
    """
    menuisier | infirmier | traducteur | apiculteur | comptable | chauffeur d'autobus | géologue | tailleur |
    pharmacien | bibliothécaire | électricien | chimiste | boulanger | pilote | jardinier | soudeur
"""
)
CARS = listed(
    """
    une Fiat Panda rouge | une vieille Volvo 240 | une Renault Zoe | une Toyota Yaris grise | une Skoda Octavia
    | une Kia Niro | une Honda Jazz | une Peugeot 208 blanche | une Mazda MX-5 | une Dacia Sandero | une Citroën
    C3 bleue | une Seat Ibiza | une Subaru Forester | une Mini Cooper | une Nissan Leaf | une Volkswagen Polo
"""
)
DOGS = listed(
    """
    Biscuit | Moka | Pixel | Taro | Nougat | Ziggy | Pepper | Olive | Kiwi | Bruno | Luna | Caramel | Muffin |
    Zelda | Pico | Noisette
"""
)
DISHES = listed(
    """
    le risotto aux champignons | la soupe à l'oignon | le cari de lentilles | les sardines grillées | les
    raviolis à la citrouille | les tacos au poisson | le goulache | la tarte aux poireaux | la paella | les
    ramens | les poivrons farcis | la croustade aux pommes | le couscous | le bœuf bourguignon | les gnocchis |
    les falafels
"""
)
SPORTS = listed(
    """
    de l'escalade | de l'escrime | de l'aviron | du badminton | du judo | du tir à l'arc | du tennis de table |
    du water-polo | du handball | du curling | du squash | du patinage artistique | du volley-ball | du rugby |
    du vélo | de la boxe
"""
)
INSTRUMENTS = listed(
    """
    du violoncelle | de la clarinette | de l'accordéon | de la harpe | du banjo | du hautbois | du trombone | de
    la mandoline | du ukulélé | du basson | de la batterie | de l'alto | de la flûte | du saxophone | de l'orgue
    | de la trompette
"""
)
PHONES = listed(
    """
    un Pixel 8 | un Fairphone 5 | un iPhone 13 | un Galaxy S22 | un Nokia G42 | un Xperia 10 | un Moto G84 | un
    iPhone SE | un Zenfone 10 | un OnePlus 12 | un Redmi Note 12 | un Galaxy A54 | un Pixel 7a | un Honor 90 |
    un Nothing Phone 2 | un Fairphone 4
"""
)
MEETINGS = listed(
    """
    le lundi soir | le mardi matin | le mercredi après-midi | le jeudi soir | le vendredi matin | le samedi
    après-midi | le dimanche matin | le lundi matin | le mardi soir | le mercredi soir | le jeudi matin | le
    vendredi soir | le samedi matin | le dimanche soir | le lundi après-midi | le mardi après-midi
"""
)

ATTRIBUTES = {
    "residence": Attribute(
        values=CITIES,
        others=("{who} habite à {v}.", "{who} a un petit appartement à {v}, tout près de la gare."),
        others_now=(
            "{who} a déménagé à {v}.",
            "{who} habite maintenant à {v}.",
            "{who} vient de déménager à {v} pour de bon.",
        ),
        others_asked=("Où habite {who} ?", "Dans quelle ville {who} habite ces temps-ci ?"),
        others_before="Où {who} habitait avant ?",
        own=("J'habite à {v}.", "J'ai un petit appartement à {v}, tout près de la gare."),
        own_now=(
            "J'ai déménagé à {v}.",
            "J'habite maintenant à {v}.",
            "Je viens de déménager à {v} pour de bon.",
        ),
        own_asked=("Où est-ce que j'habite ?", "Dans quelle ville est-ce que j'habite ces temps-ci ?"),
        own_before="Où est-ce que j'habitais avant ?",
    ),
    "employer": Attribute(
        values=EMPLOYERS,
        others=("{who} travaille pour {v}.", "{who} a son bureau chez {v} et s'y plaît."),
        others_now=(
            "{who} travaille maintenant pour {v}.",
            "{who} a changé d'emploi et travaille pour {v}.",
            "{who} a commencé chez {v}.",
        ),
        others_asked=("Pour qui travaille {who} ?", "Chez quel employeur {who} travaille en ce moment ?"),
        others_before="Pour qui {who} travaillait avant ?",
        own=("Je travaille pour {v}.", "J'ai mon bureau chez {v} et je m'y plais."),
        own_now=(
            "Je travaille maintenant pour {v}.",
            "J'ai changé d'emploi et je travaille pour {v}.",
            "J'ai commencé chez {v}.",
        ),
        own_asked=("Pour qui est-ce que je travaille ?", "Chez quel employeur est-ce que je travaille en ce moment ?"),
        own_before="Pour qui est-ce que je travaillais avant ?",
    ),
    "job": Attribute(
        values=JOBS,
        others=("{who} est {v}.", "{who} gagne sa vie comme {v}."),
        others_now=(
            "{who} est maintenant {v}.",
            "{who} s'est recyclé et est devenu {v}.",
            "Ces temps-ci, {who} travaille comme {v}.",
        ),
        others_asked=("Quel est le métier {of_who} ?", "Que fait {who} dans la vie ?"),
        others_before="Que faisait {who} dans la vie avant ?",
        own=("Je suis {v}.", "Je gagne ma vie comme {v}."),
        own_now=(
            "Je suis maintenant {v}.",
            "Je me suis recyclé et je suis devenu {v}.",
            "Ces temps-ci, je travaille comme {v}.",
        ),
        own_asked=("Quel est mon métier ?", "Qu'est-ce que je fais dans la vie ?"),
        own_before="Qu'est-ce que je faisais dans la vie avant ?",
    ),
    "car": Attribute(
        values=CARS,
        others=("{who} conduit {v}.", "{who} va partout dans {v}."),
        others_now=(
            "{who} conduit maintenant {v}.",
            "{who} a vendu l'ancienne voiture et acheté {v}.",
            "{who} a pris {v} à la place.",
        ),
        others_asked=("Quelle voiture conduit {who} ?", "Quelle voiture a {who} ?"),
        others_before="Quelle voiture conduisait {who} avant ?",
        own=("Je conduis {v}.", "Je vais partout dans {v}."),
        own_now=(
            "Je conduis maintenant {v}.",
            "J'ai vendu l'ancienne voiture et acheté {v}.",
            "J'ai pris {v} à la place.",
        ),
        own_asked=("Quelle voiture est-ce que je conduis ?", "Quelle voiture est-ce que j'ai ?"),
        own_before="Quelle voiture est-ce que je conduisais avant ?",
    ),
    "dog": Attribute(
        values=DOGS,
        others=("Le chien {of_who} s'appelle {v}.", "{who} promène un chien nommé {v} le long du canal."),
        others_now=(
            "{who} a un nouveau chien qui s'appelle {v}.",
            "Le chien {of_who} s'appelle maintenant {v}.",
            "{who} a adopté un chien, {v}.",
        ),
        others_asked=("Comment s'appelle le chien {of_who} ?", "Quel est le nom du chien {of_who} ?"),
        others_before="Comment s'appelait le chien {of_who} avant ?",
        own=("Mon chien s'appelle {v}.", "Je promène un chien nommé {v} le long du canal."),
        own_now=(
            "J'ai un nouveau chien qui s'appelle {v}.",
            "Mon chien s'appelle maintenant {v}.",
            "J'ai adopté un chien, {v}.",
        ),
        own_asked=("Comment s'appelle mon chien ?", "Quel est le nom de mon chien ?"),
        own_before="Comment s'appelait mon chien avant ?",
    ),
    "dish": Attribute(
        values=DISHES,
        others=(
            "Le plat préféré {of_who}, c'est {v}.",
            "{who} mangerait tous les jours ce plat, son préféré : {v}.",
        ),
        others_now=(
            "Le plat préféré {of_who}, c'est maintenant {v}.",
            "{who} a changé de plat préféré : ces temps-ci, c'est {v}.",
            "De tous les plats, {who} aime maintenant {v} le plus.",
        ),
        others_asked=("Quel est le plat préféré {of_who} ?", "Quel plat {who} aime le plus ?"),
        others_before="Quel était le plat préféré {of_who} avant ?",
        own=("Mon plat préféré, c'est {v}.", "Je mangerais tous les jours ce plat, mon préféré : {v}."),
        own_now=(
            "Mon plat préféré, c'est maintenant {v}.",
            "J'ai changé de plat préféré : ces temps-ci, c'est {v}.",
            "De tous les plats, j'aime maintenant {v} le plus.",
        ),
        own_asked=("Quel est mon plat préféré ?", "Quel plat est-ce que j'aime le plus ?"),
        own_before="Quel était mon plat préféré avant ?",
    ),
    "sport": Attribute(
        values=SPORTS,
        others=("{who} fait {v} deux fois par semaine.", "Comme sport, {who} fait {v}, au club derrière l'école."),
        others_now=(
            "{who} s'est mis à faire {v} à la place.",
            "Comme sport, {who} fait maintenant {v}.",
            "{who} a changé de sport et fait {v}.",
        ),
        others_asked=("Quel sport fait {who} ?", "Quel sport pratique {who} ?"),
        others_before="Quel sport faisait {who} avant ?",
        own=("Je fais {v} deux fois par semaine.", "Comme sport, je fais {v}, au club derrière l'école."),
        own_now=(
            "Je me suis mis à faire {v} à la place.",
            "Comme sport, je fais maintenant {v}.",
            "J'ai changé de sport et je fais {v}.",
        ),
        own_asked=("Quel sport est-ce que je fais ?", "Quel sport est-ce que je pratique ?"),
        own_before="Quel sport est-ce que je faisais avant ?",
    ),
    "instrument": Attribute(
        values=INSTRUMENTS,
        others=("{who} joue {v}.", "{who} travaille un instrument tous les soirs et joue {v}."),
        others_now=(
            "{who} joue maintenant {v}.",
            "{who} a changé d'instrument et joue {v}.",
            "{who} s'est mis à jouer {v}.",
        ),
        others_asked=("De quel instrument joue {who} ?", "Quel instrument travaille {who} ?"),
        others_before="De quel instrument jouait {who} avant ?",
        own=("Je joue {v}.", "Je travaille un instrument tous les soirs et je joue {v}."),
        own_now=(
            "Je joue maintenant {v}.",
            "J'ai changé d'instrument et je joue {v}.",
            "Je me suis mis à jouer {v}.",
        ),
        own_asked=("De quel instrument est-ce que je joue ?", "Quel instrument est-ce que je travaille ?"),
        own_before="De quel instrument est-ce que je jouais avant ?",
    ),
    "phone": Attribute(
        values=PHONES,
        others=("{who} a {v} comme téléphone.", "Le téléphone {of_who}, c'est {v}, avec un coin fêlé."),
        others_now=(
            "{who} a un nouveau téléphone, {v}.",
            "Le téléphone {of_who}, c'est maintenant {v}.",
            "{who} a remplacé son téléphone par {v}.",
        ),
        others_asked=("Quel téléphone a {who} ?", "Quel téléphone utilise {who} ?"),
        others_before="Quel téléphone avait {who} avant ?",
        own=("J'ai {v} comme téléphone.", "Mon téléphone, c'est {v}, avec un coin fêlé."),
        own_now=(
            "J'ai un nouveau téléphone, {v}.",
            "Mon téléphone, c'est maintenant {v}.",
            "J'ai remplacé mon téléphone par {v}.",
        ),
        own_asked=("Quel téléphone est-ce que j'ai ?", "Quel téléphone est-ce que j'utilise ?"),
        own_before="Quel téléphone est-ce que j'avais avant ?",
    ),
    "choir": Attribute(
        values=MEETINGS,
        others=("La chorale {of_who} se réunit {v}.", "{who} chante dans une chorale qui répète {v}."),
        others_now=(
            "La chorale {of_who} se réunit maintenant {v}.",
            "La chorale {of_who} a été déplacée : c'est {v}.",
            "La chorale {of_who} a changé pour {v}.",
        ),
        others_asked=("Quand se réunit la chorale {of_who} ?", "Quand répète la chorale {of_who} ?"),
        others_before="Quand se réunissait la chorale {of_who} avant ?",
        own=("Ma chorale se réunit {v}.", "Je chante dans une chorale qui répète {v}."),
        own_now=(
            "Ma chorale se réunit maintenant {v}.",
            "Ma chorale a été déplacée : c'est {v}.",
            "Ma chorale a changé pour {v}.",
        ),
        own_asked=("Quand se réunit ma chorale ?", "Quand répète ma chorale ?"),
        own_before="Quand se réunissait ma chorale avant ?",
    ),
}

FRENCH = Wordings(
    attributes=ATTRIBUTES,
    openings=(
        "",
        "Au fait, ",
        "Ah, avant que j'oublie : ",
        "Je l'ai su hier : ",
        "On en a parlé au dîner : ",
        "Tu sais, ",
    ),
    endings=(
        "",
        " Juste pour que tu le saches.",
        " Il était temps.",
        " C'est drôle, la vie.",
        " Je l'apprends aujourd'hui.",
    ),
    activities=(
        "fait du kayak",
        "réparé un mur",
        "cueilli des cerises",
        "regardé l'éclipse",
        "cuit du pain",
        "peint un bateau",
        "trouvé un chat perdu",
        "fait voler des cerfs-volants",
        "vu un opéra",
        "planté un noyer",
        "joué aux échecs",
        "manqué le dernier train",
        "photographié des hérons",
        "chanté à un mariage",
        "mangé des huîtres",
        "construit une bibliothèque",
    ),
    activities_asked=(
        "fait du kayak",
        "réparé un mur",
        "cueilli des cerises",
        "regardé l'éclipse",
        "cuit du pain",
        "peint un bateau",
        "trouvé un chat perdu",
        "fait voler des cerfs-volants",
        "vu un opéra",
        "planté un noyer",
        "joué aux échecs",
        "manqué le dernier train",
        "photographié des hérons",
        "chanté à un mariage",
        "mangé des huîtres",
        "construit une bibliothèque",
    ),
    places=CITIES,
    event_told=(
        "{who} et moi avons {activity} à {place}.",
        "On était à {place}, {who} et moi, et on a {activity}.",
        "{who} et moi avons {activity} quand on était à {place}, et il a plu tout le temps.",
    ),
    event_where="Où est-ce que {who} et moi avons {activity} ?",
    event_who="Avec qui est-ce que j'ai {activity} à {place} ?",
    chatter=(
        "{thing}, {spot}, {deed} encore {when}.",
        "J'ai passé {when} {spot} à cause d'une chose, {thing} : ça {deed}.",
        "Penses-tu que {thing} {deed} à cause du temps qu'il faisait {when} ?",
        "{who} m'a parlé de ceci {spot} {when} : {thing}.",
        "Numéro {n} sur ma liste, {thing} : ça {deed} {when}.",
        "On a parlé de ce qu'on a vu {spot} {when}, et {who} a ri : {thing} !",
    ),
    things=listed(
        """
        la cafetière | l'imprimante | la barrière du jardin | le vieux vélo | le chauffage | le guichet | la
        radio | la tondeuse | la machine à coudre | la boîte aux lettres | l'étang à poissons | la sonnette | la
        brouette | la lampe | le télescope | la bouilloire
    """
    ),
    spots=listed(
        """
        à la bibliothèque | au marché | à l'atelier | au port | à la salle communale | au dépanneur | à la poste
        | au terrain de jeu | au potager | à la piscine | au musée | au dépôt d'autobus | au vignoble | au
        château | au phare | sur la grand-place
    """
    ),
    deeds=listed(
        """
        est tombé en panne | a fait un drôle de bruit | a été réparé | a disparu | avait l'air comme neuf |
        s'est coincé | a été peint en vert | a surpris tout le monde | a coûté trop cher | est resté sous la
        pluie | a enfin marché | sentait la fumée | a été vendu | s'est renversé | est revenu | a gelé
    """
    ),
    times=listed(
        """
        ce matin | dimanche | la semaine dernière | dans la soirée | tout l'après-midi | pendant l'orage | à
        midi | avant le déjeuner | après le concert | le jour férié | toute la fin de semaine | à l'aube
    """
    ),
    replies=(
        "Toute une journée, on dirait. Qu'est-ce qui est arrivé ensuite, avec {thing}, et qu'en a dit {who} ?",
        "Merci de m'avoir raconté ce qui s'est passé {spot}. Veux-tu que je te le rappelle {when} ?",
        "Je vois. Ça {deed} : {thing} peut être une plaie, surtout {when}. C'est le numéro {n} des notes.",
        "Bonne nouvelle. Veux-tu une liste de choses à faire {spot} pour {thing} ?",
    ),
    elides=True,
)
