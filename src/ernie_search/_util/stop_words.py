"""Words that say nothing about what a text is about, by language; chosen by hand for this package.

They are the closed classes of each grammar: articles, pronouns, prepositions, conjunctions, auxiliary verbs,
particles and question words, in lower case, as ``words`` finds them. The codes are ISO 639-1.
"""

STOP_WORDS: dict[str, str] = {
    "ar": (
        "أن أنا أنت أنه أنها أو أي أيضا أين إذا إلا إلى إن إنه اذا الا التى التي الذي الذين اللذين الى ان "
        "انا انت انه او اي ايضا اين بعد بعض بل به بها بين تحت تكون تلك ثم حتى حول خلال دون ذلك على عليه "
        "عليها عن عند غير فوق في فيه فيها قبل قد كان كانت كانوا كل كم كما كيف لأن لا لقد لكن لم لماذا لن له "
        "لها ليس ليست ما ماذا متى مثل مع من منذ منه منها نحن هؤلاء هذا هذه هل هم هن هو هي و وفي وقد وكان "
        "وكانت ومن وهو وهي يكون"
    ),
    "da": (
        "ad af alle alt anden at blev blive bliver da de dem den denne der deres det dette dig din disse "
        "dog du efter eller en end er et for fra ham han hans har havde have hende hendes her hos hun hvad "
        "hvem hvilke hvilken hvilket hvis hvor hvordan hvorfor hvornår i ikke ind jeg jer jo kan kunne man "
        "mange med meget men mig min mine mit mod må ned noget nogle nu når og også om op os over på selv "
        "sig sin sine sit skal skulle som sådan thi til ud under var vi vil ville vor være været"
    ),
    "de": (
        "ab aber alle allem allen aller alles als also am an auch auf aus bei beim bin bis bist da dabei "
        "daher damit dann daran darauf darf das dass davon dazu daß dein deine dem den denn der des dich "
        "die diese diesem diesen dieser dieses dir doch dort du durch durfte dürfen ein eine einem einen "
        "einer eines er es etwa euch euer eure für gegen gewesen geworden habe haben hast hat hatte hatten "
        "hier hinter hätte hätten ich ihm ihn ihnen ihr ihre ihrem ihren ihrer ihres im in ist ja jede "
        "jedem jeden jeder jedes jene jener jenes kann kein keine keinem keinen keiner konnte konnten "
        "können könnte man mehr mein meine meinem meinen meiner mich mir mit muss musste mußte müssen nach "
        "neben nein nicht nichts noch nun nur ob oder ohne schon sehr seid sein seine seinem seinen seiner "
        "seines seit sich sie sind so soll sollen sollte sondern um und uns unser unsere unter viele vom "
        "von vor wann war waren warum was wegen weil welche welchem welchen welcher welches wem wen wenn "
        "wer werden weshalb wessen wie wieder wieso wieviel will wir wird wo woher wohin wollen wollte "
        "worden wurde wurden während wäre wären würde würden zu zum zur zwischen über"
    ),
    "el": (
        "ένα ένας έχει έχουν έχω ή ήταν αλλά αν από αυτά αυτές αυτή αυτήν αυτής αυτοί αυτού αυτό αυτόν "
        "αυτός αυτών για γιατί δεν διότι εάν είμαι είναι είσαι είτε είχαν είχε εγώ εδώ εκεί εμείς ενός ενώ "
        "επίσης επειδή εσείς εσύ η θα κάθε και κατά κι μέσα μία μας με μετά μεταξύ μη μην μια μιας μου μόνο "
        "να ο οι οποία οποίας οποίες οποίο οποίοι οποίος οποίου οποίων ούτε πιο ποια ποιες ποιο ποιοι ποιον "
        "ποιος ποιου πολύ που πού πριν προς πως πόσα πόσες πόσο πόσοι πότε σας σε σου στα στη στην στις στο "
        "στον στους τα την της τι τις το τον του τους των τόσο τότε χωρίς ως όμως όπως όσα όσο όταν ότι "
        "ώστε"
    ),
    "en": (
        "a about above across after again against all along also although am among an and another any are "
        "aren around as at be because been before behind being below between beyond both but by can cannot "
        "could couldn d did didn do does doesn doing don done down during each either else ever every "
        "except few for from had hadn has hasn have haven having he hence her here hers herself him himself "
        "his how however i if in into is isn it its itself just least less ll m many may me might mine more "
        "most much must my myself near neither never no nor not of off on once one only onto or other ought "
        "our ours ourselves out over own re s same shall she should shouldn since so some such t than that "
        "the their theirs them themselves then there therefore these they this those though through "
        "throughout thus to too toward towards under until up upon us ve very via was wasn we were weren "
        "what when where whereas whether which while who whom whose why will with within without won would "
        "wouldn yes yet you your yours yourself yourselves"
    ),
    "es": (
        "a al algo alguna algunas alguno algunos ante aquel aquella aquellas aquello aquellos así aunque "
        "bajo cada como con contra cual cuales cuando cuya cuyo cuál cuáles cuándo cuánta cuántas cuánto "
        "cuántos cómo de del desde donde durante dónde e el ella ellas ello ellos en entonces entre era "
        "eran es esa esas ese eso esos esta estaba estaban estar estas este esto estos está están fue "
        "fueron ha haber había habían hacia han hasta hay he hemos hubo la las le les lo los me menos mi "
        "mientras mis misma mismo muy más nada ni no nos nosotros nuestra nuestras nuestro nuestros o os "
        "otra otras otro otros para pero podía por porque puede pueden que quien quienes quién quiénes qué "
        "se según ser si sido siendo sin sino sobre solo son su sus sí sólo también tan tanto te tener "
        "tenía tiene tienen toda todas todo todos tras tu tus tú u un una unas unos usted ustedes vosotros "
        "y ya yo él"
    ),
    "fi": (
        "alla ei eivät emme en ennen et ette että he heidän hän hänen hänet ilman ja jo joita joka jonka "
        "jos jossa josta jotka jälkeen kaikki kanssa kenen ketä koska kuin kuinka kuitenkin kuka kun me "
        "meidän mihin miksi mikä milloin minkä minun minä missä mistä miten mitkä mitä mukaan mutta myös ne "
        "niiden niin niistä niitä nuo nyt nämä ole olen olet oli olisi olivat olla olleet ollut on ovat "
        "päällä se sekä sen siihen siinä siis siitä sinun sinä sitten sitä tai te teidän tuo tämä tämän "
        "tässä tästä tätä vai vaikka vain vielä yli"
    ),
    "fr": (
        "a ai ainsi alors après as au aura aussi autre autres aux avaient avait avant avec avez avoir avons "
        "bien c car ce ceci cela celle celles celui ces cet cette ceux chaque chez combien comme comment "
        "contre d dans de depuis des doit donc dont du dès elle elles en entre es est et eu fait furent fut "
        "il ils j je jusqu jusque l la laquelle le lequel les lesquelles lesquels leur leurs lorsqu lorsque "
        "lui m ma mais me mes moins mon même n ne ni nos notre nous on ont or ou où par pas pendant peut "
        "peuvent plus pour pourquoi pouvait puis qu quand que quel quelle quelles quelque quelques quels "
        "qui quoi s sa sans se selon sera serait seront ses si sommes son sont sous suis sur t ta tandis te "
        "tes ton tous tout toute toutes très tu un une vers vos votre vous y à ça étaient était étant été "
        "êtes être"
    ),
    "hi": (
        "अगर अन्य अपना अपनी अपने आप इन इनका इनकी इनके इस इसका इसकी इसके इसे उन उनका उनकी उनके उन्हें उस "
        "उसका उसकी उसके उसे एक एवं ऐसे और कब कर करता करती करते करना करने कहाँ कहां का कि किंतु किए कितना "
        "कितनी कितने किन किया किस किसका किसकी किसके किसने किसे की कुछ के कैसे को कौन कौनसा कौनसी क्या क्यों "
        "गई गए गया जब जा जाता जाती जाते जिन जिस जिसका जिसकी जिसके जिसमें जिसे जैसे जो तक तथा तब तुम तो था "
        "थी थीं थे द्वारा न नहीं ना ने पर परंतु पहले बाद बीच भी में मेरा मैं यदि यह या ये रहा रही रहे लिए "
        "लेकिन वह वे वो सकता सकती सकते सब सभी साथ से हम हमारा ही हुआ हुई हुए है हैं हो होता होती होते"
    ),
    "hu": (
        "a abban aki akik akkor alatt amely amelyek amelyet ami amikor amit annak arra az azok azt be csak "
        "de ebben egy el ellen előtt engem ennek erre ez ezek ezt fel felé ha hogy hogyan hol honnan hová "
        "hány is itt ki kinek kit között le lenne lesz meg mely melyek melyik mennyi mert mi mikor milyen "
        "minden minek minket mint mit miért már még nagyon nekem neki nekik nem nélkül ott se sem szerint "
        "te ti téged több után vagy van vannak volt voltak által én és így úgy ő ők őt"
    ),
    "it": (
        "a abbiamo agli ai al all alla alle allo altra altre altri altro anche avere avete aveva avevano "
        "che chi ci come con contro cosa così cui da dagli dai dal dall dalla dalle dallo degli dei del "
        "dell della delle dello deve di dopo dove durante e ed egli ella era erano essa esse essere essi "
        "esso fra fu furono già gli ha hai hanno ho i il in io l la le lei lo loro lui ma mentre mi mia mie "
        "miei mio molto ne negli nei nel nell nella nelle nello noi non nostra nostro né o od ogni per "
        "perchè perché più possono prima può quale quali quando quanta quante quanti quanto quei quel "
        "quella quelle quelli quello questa queste questi questo sarà se senza si sono sopra sotto stata "
        "state stati stato su sua sue sugli sui sul sull sulla sulle sullo suo suoi ti tra tu tua tuo tutta "
        "tutte tutti tutto un una uno verso vi voi vostra vostro è"
    ),
    "nl": (
        "aan al alle alles als ander andere ben bent bij daar dan dat de deze die dit door dus een elk elke "
        "en er geen geweest geworden haar had hadden heb hebben hebt heeft hem hen het hier hij hoe hoeveel "
        "hoewel hun iets ik in indien is je jij jouw jullie kan kon konden kunnen maar mag me meer met mij "
        "mijn moet moeten na naar niet niets nog of om omdat onder ons onze ook op over sinds te tegen ten "
        "ter terwijl tijdens toen tot tussen u uit van veel volgens voor waar waarin waarom waarvan wanneer "
        "want waren was wat we wel welk welke werd werden wie wij wil worden wordt zal ze zeer zich zij "
        "zijn zo zonder zou zouden zullen"
    ),
    "no": (
        "alle at av ble bli blir blitt da de deg dem den denne der deres det dette din disse du ei eller en "
        "enn er et etter for fra før ha hadde ham han hans har henne hennes her hun hva hvem hvilke hvilken "
        "hvilket hvis hvor hvordan hvorfor i ikke ikkje inn jeg jo kan kunne man mange med meg mellom men "
        "min mine mitt mot må ned noe noen nå når og også om opp oss over på seg selv sin sine sitt skal "
        "skulle som så til under ut uten var ved vere vi vil ville være vært"
    ),
    "pt": (
        "a ainda algum alguma algumas alguns ante antes ao aos após aquela aquelas aquele aqueles aquilo as "
        "até cada com como contra cuja cujo da das de depois desde do dos durante e ela elas ele eles em "
        "entre era eram essa essas esse esses esta estar estas estava estavam este estes está estão eu foi "
        "foram havia há isso isto já lhe lhes mais mas me menos mesma mesmo meu meus minha minhas muito na "
        "nas nem no nos nossa nossas nosso nossos num numa não nós o onde os ou outra outras outro outros "
        "para pela pelas pelo pelos pode podem por porque porquê pra quais qual quando quanta quantas "
        "quanto quantos que quem se sem sendo ser seu seus sido sim sob sobre sua suas são só também te tem "
        "ter teu tinha tinham toda todas todo todos tu tua tão têm um uma umas uns você vocês vós à às é"
    ),
    "ro": (
        "a acea aceasta această aceea acei acel acela acele acest acesta aceste acestea acestei acestui "
        "acești ai al ale alt alte altă alți am ar are astfel asupra au avea aveau avut ca care ce cea cei "
        "cel cele cine cu cui cum când cât câte câtă câți că cărei căror cărui către da dacă dar de decât "
        "deoarece despre deși din dintr doar după e ea ei el ele era erau este eu fi fiecare fiind foarte "
        "fost fără i iar la le lor lui mai mea meu mi mă ne nici niște noastră noi nostru nu numai o ori pe "
        "pentru peste poate pot prin printr până s sa sale sau se spre sub sunt să săi său te toate tot "
        "toți tu un unde unei unor unui va voi vor vă îi îl în însă într între și ți"
    ),
    "ru": (
        "а без больше будет будто будут бы был была были было быть в вам вас во вот все всего всех вы где "
        "да даже для до его ее ей ему если есть еще ещё её же за зачем здесь и из или их к как какая какие "
        "каким каких какого какое какой каком какую кем когда кого кому которая которого которое которой "
        "котором которому которую которые который которым которых кто куда ли между меня мне мои мой моя мы "
        "на над надо нас не него ней нет ни нибудь никогда ним них но ну о об один он она они от перед по "
        "под после потому почему почти при про с сам своего своей своих свой свою себе себя сказал сколько "
        "со та так также те тебя тем то тогда того тоже только тому тот тут ты у уже чего чем через что "
        "чтоб чтобы эта эти этим этих это этого этой этом этому этот я является являются"
    ),
    "sv": (
        "alla allt att av bara blev bli blir blivit de dem den denna deras dessa det detta dig din dina "
        "ditt du där då efter eftersom eller en er ett från för före genom ha hade han hans har henne "
        "hennes hon honom hur här i in inga ingen inte jag kan kunde man med medan mellan men mer mig min "
        "mina mitt mot mycket många måste ni nu när någon något några och också om oss på sedan sig sin "
        "sina sitt ska skulle som så till under upp ut utan vad var vara varför varit vem vi vid vilka "
        "vilken vilket vill ville vår våra vårt än är även över"
    ),
    "tr": (
        "ama ancak arasında bana bazı ben beni benim bile bir biz bizim bu buna bunda bundan bunlar bunu "
        "bunun böyle bütün da daha de değil diye doğru en eğer fakat gibi göre hakkında hangi hangileri "
        "hangisi hem her hiç idi iken ile ise için içinde kadar karşı kaç kendi kendisi ki kim kimdir kime "
        "kimi kimin kimler mi mu mü mı nasıl ne neden nedir nerede nereden nereye niye niçin o olan olarak "
        "oldu olduğu olduğunu olmak olmuştur olur ona onda ondan onlar onlara onları onların onu onun "
        "sadece sana sen seni senin siz sizin sonra tarafından tüm var ve veya ya yok çok çünkü önce üzere "
        "üzerinde şu şunlar şöyle"
    ),
}

STEMMERS: dict[str, str] = {
    "ar": "arabic",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hi": "hindi",
    "hu": "hungarian",
    "it": "italian",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "tr": "turkish",
}
"""Snowball's stemmer of each language."""
