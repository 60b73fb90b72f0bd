"""Small label schemas of many fields, for tests; a class is a concept, or spells its wordings out."""

import functools

from captioner.schema import LabelSchema, parse_schema

_SCHEMAS = {
    "cxr": ("xray", "chest", ["chest", "general"], {
        "atelectasis": "chest.atelectasis", "cardiomegaly": "chest.cardiomegaly", "consolidation": "chest.consolidation",
        "edema": "chest.pulmonary_edema", "fracture": "general.fracture", "lung_lesion": "chest.lung_lesion",
        "lung_opacity": "chest.lung_opacity", "pleural_effusion": "chest.pleural_effusion", "pneumonia": "chest.pneumonia",
        "pneumothorax": "chest.pneumothorax", "support_devices": "chest.support_devices", "no_finding": "chest.normal",
    }),
    "fundus_dr": ("fundus", "retina", ["retina"], {
        "no_dr": "retina.no_diabetic_retinopathy", "mild_npdr": "retina.mild_npdr", "moderate_npdr": "retina.moderate_npdr",
        "severe_npdr": "retina.severe_npdr", "pdr": "retina.proliferative_dr",
    }),
    "fundus": ("fundus", "retina", ["retina"], {
        "amd": "retina.age_related_macular_degeneration", "cataract": "retina.cataract", "glaucoma": "retina.glaucoma",
        "hypertensive_retinopathy": "retina.hypertensive_retinopathy", "pathologic_myopia": "retina.pathologic_myopia",
        "normal": "retina.normal",
    }),
    "ct_lung": ("ct", "lung", ["chest", "general"], {
        "bronchiectasis": "chest.bronchiectasis", "ild": "chest.interstitial_lung_disease", "nodule": "chest.lung_nodule",
        "normal": "chest.normal_lung",
    }),
    "ct_brain": ("ct", "brain", ["brain", "general"], {
        "epidural": "brain.epidural_hematoma", "subarachnoid": "brain.subarachnoid_hemorrhage",
        "subdural": "brain.subdural_hematoma",
    }),
    "mr_brain": ("mri", "brain", ["brain", "general"], {
        "glioma": "brain.glioma", "meningioma": "brain.meningioma", "pituitary": "brain.pituitary_tumor",
        "no_tumor": "brain.no_tumor",
    }),
    "mr_knee": ("mri", "knee", ["musculoskeletal", "general"], {"acl": "musculoskeletal.acl_pathology"}),
    "us_breast": ("ultrasound", "breast", ["breast", "general"], {
        "benign": "breast.benign_lesion", "malignant": "breast.malignant_lesion", "normal": "breast.normal",
    }),
    "histo_lung": ("histology", "lung", ["histology"], {
        "benign": "histology.lung_benign", "luad": "histology.lung_adenocarcinoma", "lusc": "histology.lung_squamous",
    }),
    "histo_node": ("histology", "lymph_node", ["histology"], {
        "metastasis": "histology.nodal_metastasis", "normal_node": "histology.normal_node",
    }),
    "histo_crc": ("histology", "colon", ["histology"], {
        "lymphocytes": "histology.colon_lymphocytes", "normal_mucosa": "histology.colon_normal_mucosa",
        "stroma": "histology.cancer_associated_stroma", "tumor": "histology.colon_adenocarcinoma",
        "smooth_muscle": "histology.colon_smooth_muscle",
    }),
}  # fmt: skip


@functools.cache
def schema_of(name: str) -> LabelSchema:
    """Return one of the small schemas."""
    modality, anatomy, fields, classes = _SCHEMAS[name]
    return parse_schema(
        {
            "id": name,
            "title": name,
            "modality": modality,
            "anatomy": anatomy,
            "fields": fields,
            "tables": [{"layout": "folders"}],
            "classes": [{"code": code, "concept": concept} for code, concept in classes.items()],
        }
    )


NAMES = tuple(_SCHEMAS)
