"""A schema small enough to see whole, for tests of what comes after schemas."""

from captioner.schema import LabelSchema, parse_schema

CHEST = {
    "id": "small",
    "title": "Small chest dataset",
    "modality": "xray",
    "anatomy": "chest",
    "tables": [
        {"layout": "names", "files": [{"match": "labels.csv"}], "image": "image", "column": "labels", "separator": "|"}
    ],
    "attributes": {"view": {"column": "view"}},
    "classes": [
        {"code": "Effusion", "name": "pleural effusion", "synonyms": ["fluid in the pleural space"]},
        {"code": "Nodule", "name": "lung nodule", "synonyms": ["pulmonary nodule"]},
        {"code": "Cardiomegaly", "name": "cardiomegaly", "synonyms": ["enlarged heart"]},
        {"code": "Normal", "name": "no abnormal finding", "kind": "normal", "synonyms": ["no abnormality"]},
    ],
}


def small_schema(**changes: object) -> LabelSchema:
    return parse_schema(CHEST | changes)
