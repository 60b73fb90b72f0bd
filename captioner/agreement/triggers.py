"""What a caption may not say because labels cannot support it: the words that give each kind of detail away."""

from collections.abc import Iterable
from types import MappingProxyType

from captioner.agreement.tokens import phrase
from captioner.agreement.vocabulary import Node, insert

# How a trigger is confirmed by what stands around it; see details.py.
(ALWAYS, UNIT, SIDE, COUNT, STAGE, BEFORE_FINDING, PATIENT, BOTH_SIDES, PRONOUN, PROOF, UPPER, LASTING) = range(12)

KINDS = (
    "size", "count", "laterality", "location", "age", "sex", "history", "symptom", "prior_exam", "device", "stage",
    "biomarker", "treatment", "advice", "dataset", "severity", "acquisition", "view",
)  # fmt: skip
"""Every kind of invented detail."""

_TABLE: tuple[tuple[str, int, str, str], ...] = (
    ("size", UNIT, "error", "mm | cm | millimetre | centimetre | micrometre | millimeter | centimeter | micron | micrometer | inch | µm | μm | um | ml | mmhg | hu | disc diameter | dd | disc area | diopter | dioptre | kg | bpm | ng | mg | hounsfield unit | degree | percent | %"),
    ("size", ALWAYS, "error", "fingerbreadth | half an inch | as big as | subcentimeter | sub centimeter | measuring | measures | in diameter | cup to disc ratio of | size of a | pea sized | walnut sized | golf ball sized | long axis diameter | short axis diameter"),
    ("size", STAGE, "error", "ratio of | ratio"),
    ("count", COUNT, "error", "two | three | four | five | six | seven | eight | nine | ten | dozen | several | multiple | numerous | many | few | pair of | couple of | twin | innumerable | multifocal | countless | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15 | 16 | 17 | 18 | 19 | 20 | 21 | 22 | 23 | 24 | 25 | 26 | 27 | 28 | 29 | 30 | eleven | twelve | fifteen | twenty | thirty | hundreds of | thousands of"),
    ("count", COUNT, "warning", "single | solitary"),
    ("count", ALWAYS, "error", "second one | third one | another one"),
    ("laterality", SIDE, "error", "left | right | leftward | rightward | left sided | right sided"),
    ("laterality", ALWAYS, "error", "on one side | other lung | other eye | other breast | other kidney | other side | dependent side | bilateral | bilaterally | unilateral | unilaterally | contralateral | ipsilateral | on both sides | oculus dexter | oculus sinister | opposite lung | opposite side | one eye | fellow eye | hemithorax | biapical | bibasilar | bibasal | bihilar | bitemporal | binasal"),
    ("laterality", UPPER, "error", "OD | OS | OU"),
    ("laterality", BOTH_SIDES, "error", "both"),
    ("location", STAGE, "error", "rib | segment | lobe"),
    ("location", ALWAYS, "error", "ascending colon | descending colon | transverse colon | sigmoid colon | sigmoid | rectosigmoid | hepatic flexure | splenic flexure | behind the heart | retrocardiac | upper back | lower back | on the back | mca territory | aca territory | pca territory | vascular territory | dermatome | paratracheal | upper half | lower half | lower third | upper third | middle third | in segment | along the fissure | upper lobe | lower lobe | middle lobe | lobe | lobar | bilobar | upper zone | lower zone | mid zone | middle zone | lung base | lingula | quadrant | superotemporal | inferotemporal | superonasal | inferonasal | o'clock | temporal lobe | frontal lobe | parietal lobe | occipital lobe | upper pole | lower pole | interpolar | upper outer | lower outer | upper inner | lower inner | subareolar | retroareolar | anterior segment of | posterior segment | apical segment | segment ii | segment iii | segment iv | segment v | segment vi | segment vii | segment viii | medial compartment | lateral compartment | anterior horn | posterior horn | axillary tail | supratentorial | infratentorial | frontoparietal | temporoparietal | suprahilar | infrahilar | lower lung | upper lung | mid lung | upper lungs | lower lungs | superior arcade | inferior arcade | temporal arcade | nasal side | temporal side | inferior retina | superior retina | temporal retina | nasal retina | parasellar | basal ganglia | thalamic | cerebellar hemisphere | cerebral hemisphere | hemisphere | pontine | middle cerebral artery territory | cerebral artery | arterial territory | vascular territory | cerebellopontine angle | posterior fossa | suprasellar | cavernous sinus | sphenoid wing | parasagittal | cerebral convexity | skull base | apical | perihilar | retrocardiac | paramediastinal | head of the pancreas | tail of the pancreas | retrocardiac region"),
    ("location", ALWAYS, "warning", "basal | basilar | peripheral | subpleural | centrilobular | paraseptal | at the base | at the apex | juxtafoveal | parafoveal | perifoveal | peripapillary | midperipheral | cortical | superficial | posteriorly | anteriorly | laterally | medially | centrally | superiorly | inferiorly"),
    ("age", ALWAYS, "error", "year old | years old | yo | y/o | year of age | years of age | months old | month old | day old | week old | aged | elderly | infant | neonate | newborn | neonatal | toddler | teenager | teenage | adolescent | child | pediatric | middle aged | young adult | octogenarian | septuagenarian | older adult | older patient | young patient | adult | decade of life | baby | old man | old woman | senior | geriatric"),
    ("age", STAGE, "error", "age"),
    ("sex", ALWAYS, "error", "man | woman | male | female | boy | girl | gentleman | lady | mother | father | postmenopausal | premenopausal | pregnant | pregnancy"),
    ("sex", PRONOUN, "error", "he | she | his | her"),
    ("history", ALWAYS, "error", "culprit | its cause | the cause | cause unknown | unknown cause | the etiology | its origin is | overnight | for hours | for days | for weeks | for months | for years | relapsing | autopsy | histologically verified | mechanical ventilation | japanese | chinese | korean | african | african american | caucasian | asian | european | hispanic | latino | ethnic | nursing home | care home | accident | dancer | swimmer | cyclist | pianist | musician | nurse | pilot | carpenter | driver | gardener | welder | teacher | student | gymnast | footballer | boxer | climber | skier | prisoner | refugee | sailor | hairdresser | builder | baker | chef | painter | cleaner | plumber | electrician | butcher | fisherman | stab wound | gunshot | bullet | trichophyton | microsporum | sars cov 2 | drug resistant | multidrug resistant | mdr | xdr | methicillin resistant | mrsa | crash | motorcycle | vehicle | contracted at | contracted in | day care | daycare | collision | assault | deficiency | regurgitation | hiv | aids | klebsiella | staphylococcus | staphylococcal | streptococcus | streptococcal | pseudomonas | mycoplasma | legionella | cytomegalovirus | cmv | influenza | aspergillus | candida | e coli | in the setting of | scheduled for | awaiting | worker | runner | athlete | farmer | miner | soldier | firefighter | player | volunteer | donor | veteran | survivor | hospital acquired | community acquired | nosocomial | healthcare associated | ventilator associated | intubated | ventilated | bedridden | immunocompetent | hemodialysis | in remission | history of | known history | medical history | family history | smoker | smoking | nonsmoker | ex smoker | tobacco | alcoholic | alcohol abuse | status post | previously diagnosed | previously known | known case of | longstanding | long standing | post traumatic | posttraumatic | after trauma | following trauma | road traffic accident | car accident | motor vehicle | after a fall | following a fall | immunocompromised | immunosuppressed | comorbidity | comorbidities | obese | obesity | occupational exposure | asbestos exposure | hereditary | congenital heart | known diabetic | type 2 diabetes | type 1 diabetes | type ii diabetes | diabetes mellitus | diabetic patient | hypertensive patient | past surgical | emergency department | intensive care | icu | admitted | hospitalized | inpatient | outpatient | clinical history | uncontrolled diabetes | poorly controlled | travel"),
    ("history", LASTING, "error", "hour | minute | day | week | month | year | decade"),
    ("history", PROOF, "error", "biopsied | biopsy | biopsy proven | biopsy confirmed | on biopsy | at biopsy | fine needle aspiration | fna | cytology | histologically confirmed | histologically proven | pathologically proven | pathologically confirmed | confirmed at surgery | culture proven | on culture | sputum | confirmed by biopsy | confirmed on biopsy | proven by biopsy | core biopsy | laboratory | serology | pcr | covid test"),
    ("history", PATIENT, "error", "patient"),
    ("symptom", ALWAYS, "error", "fever | febrile | cough | coughing | pain | painful | dyspnea | shortness of breath | breathless | breathlessness | chest pain | headache | dizziness | seizure | vomiting | nausea | weight loss | fatigue | hemoptysis | wheeze | wheezing | blurred vision | blurry vision | vision loss | visual loss | loss of vision | visual acuity | reduced vision | decreased vision | visual impairment | floaters | photophobia | metamorphopsia | palpable | tenderness | tender | weakness | symptom | symptomatic | asymptomatic | complaint | complain | complaining | night sweats | hematuria | jaundice | limp | numbness | tingling | malaise | chill | sweating | bleeding per rectum | limited range of motion | swelling of the leg | hypoxia | tachycardia | hypoxic | respiratory distress | blood pressure | glucose | intraocular pressure | visual field | field loss | field defect | scotoma | blindness | sight loss | impaired vision | distorted vision | poor vision | double vision | rectal bleeding | abdominal pain | bleed easily | bleeding easily | itching | itchy | pruritic | pruritus | discomfort | difficulty breathing | swallowing"),
    ("prior_exam", ALWAYS, "error", "last visit | previous visit | prior visit | earlier visit | previous appointment | has grown | has shrunk | have shrunk | persists | persist | has since | have since | has spread | have spread | has subsided | has regressed | progressing | today | yesterday | than before | than previously | since last | last year | last month | last week | doubled in | tripled in | grown since | prior study | prior exam | prior examination | prior image | prior radiograph | prior scan | previous study | previous exam | previous examination | previous image | previous radiograph | previous scan | previous film | prior film | compared to | compared with | comparison with | in comparison | comparison to | since the last | since the previous | since the prior | interval change | interval increase | interval decrease | interval improvement | interval resolution | interval development | interval | unchanged | no change in | no significant change in | no interval change | stable | worsening | worsened | improving | improved | has resolved | resolving | progression of | has progressed | has increased | has decreased | newly | new onset | again seen | again noted | again demonstrated | redemonstrated | re demonstrated | redemonstration | persistent | persisting | recurrent | recurrence | earlier study | earlier examination | earlier film | last examination | baseline examination | serial | as before | as previously seen"),
    ("prior_exam", BEFORE_FINDING, "error", "new | increasing | decreasing | enlarging | growing | shrinking | progressive | evolving"),
    ("device", ALWAYS, "error", "tube | necklace | tattoo | hickman line | watchman | mitraclip | icd | lvad | dobhoff | cochlear implant | stimulator | piercing | impella | lifevest | device in place | pacemaker | defibrillator | endotracheal tube | et tube | nasogastric tube | ng tube | feeding tube | chest tube | tracheostomy | tracheostomy tube | catheter | central line | picc | picc line | central venous line | port a cath | stent | sternal wire | sternotomy wire | surgical clip | prosthetic valve | valve prosthesis | valve replacement | hip prosthesis | knee prosthesis | prosthesis | hardware | orthopedic hardware | metal plate | fixation plate | intramedullary nail | fixation screw | pedicle screw | electrode | ecg lead | ekg lead | pacing lead | drain | drainage tube | ventricular shunt | vp shunt | shunt catheter | swan ganz | implantable | cardioverter | intraocular lens | intra aortic balloon | biopsy needle | suture | staple | monitoring lead | vascular coil | foley | breast implant | silicone implant"),
    ("stage", STAGE, "error", "stage | grade | class | type | level | category | score | gleason | fuhrman | tnm | figo | who grade | bi rads | birads | ti rads | tirads | pi rads | pirads | li rads | lung rads"),
    ("stage", ALWAYS, "error", "ti rads | tirads | li rads | lirads | pi rads | pirads | lung rads | prague | forrest | paris classification | child pugh | well differentiated | moderately differentiated | poorly differentiated | undifferentiated | high grade | low grade | intermediate grade | early stage | late stage | end stage | advanced stage | gleason score | staging"),
    ("biomarker", ALWAYS, "error", "crp | apache | d dimer | positive culture | mantoux | p16 | afp | egfr | her2 | her 2 | pd l1 | pdl1 | ki 67 | ki67 | kras | braf | alk positive | alk rearrangement | er positive | pr positive | er negative | triple negative | hormone receptor | estrogen receptor | progesterone receptor | ttf 1 | ttf1 | p40 | p63 | cd20 | cd3 | psa | cea | ca 125 | hba1c | idh | mgmt | brca | brca1 | brca2 | microsatellite instability | msi high | mismatch repair | immunohistochemistry | immunohistochemical | mutation | mutated | biomarker | ros1 | napsin | ck7 | ck20 | ck5 | troponin | bnp"),
    ("treatment", ALWAYS, "error", "responding to | treated | treatment | therapy | chemotherapy | radiotherapy | radiation therapy | chemoradiation | surgery | surgical | surgically | postoperative | post operative | postsurgical | post surgical | preoperative | resection | resected | resected tumor | lobectomy | pneumonectomy | mastectomy | lumpectomy | craniotomy | laser | photocoagulation | anti vegf | injection | vitrectomy | antibiotic | steroid | medication | drug | drained | thoracentesis | sternotomy | cabg | bypass | transplant | transplanted | transplantation | arthroplasty | reconstruction | embolization | embolized | ablation | dialysis | insulin | postpartum | irradiated | cholecystectomy | nephrectomy | hysterectomy | splenectomy | thyroidectomy | amputation | repaired | repair | operated"),
    ("advice", ALWAYS, "error", "treat accordingly | prognosis | fatal | outcome | recommend | recommended | recommendation | recommending | follow up | followup | clinical correlation | correlate clinically | correlation is advised | correlation is recommended | advise | advised | suggest further | further evaluation | further imaging | further investigation | further assessment | further workup | further work up | further examination | additional imaging | is warranted | warranted | urgent | urgently | immediate attention | refer to | referral | please | consult | seek medical | should be | should undergo | must be | needs to be | need for | require further | requires further | requires treatment | is advised | to be confirmed by | candidate for | eligible for | monitoring | biopsy is | prompt | medical attention | specialist | ophthalmologist | physician | doctor | radiologist should"),
    ("dataset", ALWAYS, "error", "png | jpg | jpeg | dicom | see figure | courtesy of | copyright | reported by | discussed with | dataset | data set | label | labeled | labeling | ground truth | annotation | annotated | annotator | training set | test set | validation set | training data | kaggle | chestx ray14 | chestxray14 | chest x ray14 | mimic cxr | mimic | chexpert | padchest | vindr | aptos | aptos 2019 | odir | odir 5k | eyepacs | messidor | idrid | rfmid | busi | busi dataset | lc25000 | radimagenet | nct crc | pcam | patchcamelyon | camelyon | isic | ham10000 | brats | luna16 | medmnist | imagenet | kvasir | hyperkvasir | flair dataset | refuge | rimone | crc 100k | benchmark | machine learning | deep learning | neural network | classifier | ai model | algorithm | metadata | filename | file name | class label | image id | patient id | the class"),
    ("severity", BEFORE_FINDING, "warning", "mild | mildly | moderate | moderately | severe | severely | minimal | marked | markedly | extensive | advanced | small | large | massive | tiny | huge | subtle | slight | slightly | gross | significant | prominent | early | diffuse | focal | patchy | dense | trace | moderate sized | large sized | widespread | profound | acute | chronic | subacute"),
    ("acquisition", ALWAYS, "warning", "contrast enhanced | contrast | non contrast | noncontrast | post contrast | postcontrast | unenhanced | gadolinium | t1 weighted | t2 weighted | t1 | t2 | flair | dwi | diffusion weighted | stir | gradient echo | swi | arterial phase | portal venous phase | delayed phase | magnification | low power | high power | objective | slice thickness | kvp | tesla | 1.5 t | 3 t | doppler | bone window | lung window | soft tissue window | fat suppressed | fat saturated | proton density | mydriatic | non mydriatic | 45 degree | wide field | ultra widefield | red free | axial | coronal | sagittal | transverse | longitudinal | supine | prone | erect | upright | portable | bedside | hematoxylin | eosin | stained"),
    ("view", UPPER, "warning", "PA | AP"),
    ("view", ALWAYS, "warning", "posteroanterior | anteroposterior | lateral view | lateral projection | lateral chest | lateral radiograph | lateral x ray | oblique | decubitus | macula centered | disc centered"),
)  # fmt: skip

Trigger = tuple[str, int, str]
"""Kind, rule and level."""


def _expand() -> tuple[tuple[tuple[str, ...], Trigger], ...]:
    found = []
    for kind, rule, level, texts in _TABLE:
        found += [(phrase(text.strip()), (kind, rule, level)) for text in texts.split("|")]
    return tuple(found)


_ALL = _expand()
TRIGGERS: tuple[Trigger, ...] = tuple(t for _, t in _ALL)


def insert_all(trie: Node, layer: int) -> None:
    """Put every trigger into a trie."""
    for i, (words, (_, rule, _)) in enumerate(_ALL):
        insert(trie, words, (layer, i, rule == UPPER))


ALWAYS_WORDS = {words: kind for words, (kind, rule, _) in _ALL if rule in (ALWAYS, PROOF)}
_LONGEST = max(map(len, ALWAYS_WORDS))


def kinds_in(wordings: Iterable[str]) -> frozenset[str]:
    """Return the kinds of detail that wordings contain by themselves."""
    found = set()
    for wording in wordings:
        words = phrase(wording)
        for i in range(len(words)):
            for size in range(1, min(_LONGEST, len(words) - i) + 1):
                kind = ALWAYS_WORDS.get(words[i : i + size])
                if kind is not None:
                    found.add(kind)
    return frozenset(found)


MODALITY_WORDS = MappingProxyType(
    {
        "xray": ("film", "plain films", "radiological film", "roentgen", "XR", "AXR", "KUB"),
        "ct": ("CBCT", "cone beam CT", "CT angiogram", "CT angiography", "tomogram", "computed tomogram"),
        "mri": ("MR", "MR angiogram", "magnetic resonance angiography", "functional MRI", "fMRI"),
        "ultrasound": ("echocardiogram", "echocardiography", "echocardiographic", "doppler ultrasound", "US scan", "US", "duplex", "ultrasonic", "ultrasound b scan", "sonographically"),
        "ecg": ("electrocardiogram", "electrocardiography", "ECG", "EKG", "electroencephalogram", "EEG"),
        "endoscopy": ("cystoscopy", "cystoscopic", "arthroscopy", "arthroscopic", "sigmoidoscopy", "colonoscope", "esophagogastroduodenoscopy", "hysteroscopy", "bronchoscopic", "colposcopy", "laryngoscopy"),
        "slit_lamp": ("slit lamp",),
        "angiography": ("angiographic", "OCTA", "OCT angiography", "autofluorescence", "FAF", "indocyanine green", "coronary angiogram", "DSA", "venogram", "arteriogram"),
        "pet": ("PET MRI", "FDG", "scintigram", "bone scan", "nuclear medicine"),
        "histology": ("cytology smear", "pap smear", "whole slide image"),
        "dxa": ("DXA", "DEXA", "bone densitometry"),
        "elastography": (),
        "flow_cytometry": ("flow cytometry", "flow cytometric", "electrophoresis"),
    }
)  # fmt: skip
"""Further words for ways of imaging, by family."""
