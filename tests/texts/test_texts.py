"""Datasets that have texts of their own: each kind of file, each dataset that ships, and what becomes of bad input."""

import io
import json
import os
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image

from captioner import resources
from captioner.audit import audit
from captioner.errors import SchemaError, TableError, UsageError
from captioner.pipeline import settings_of
from captioner.shards import verify
from captioner.texts.run import TextPipeline, TextSummary, execute, prepare
from captioner.texts.samples import TextSamples, read_texts
from captioner.texts.schema import TextSchema, load_text_schema
from captioner.volumes import stack
from tests.conftest import REAL_DATA

Files = Mapping[str, Any]


def write(folder: Path, files: Files) -> Path:
    """Make files: text as it is, other things as what their ending says."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        elif name.endswith(".jsonl"):
            path.write_text("".join(json.dumps(line) + "\n" for line in content), encoding="utf-8")
        elif name.endswith(".json"):
            path.write_text(json.dumps(content), encoding="utf-8")
        elif name.endswith(".pkl"):
            path.write_bytes(pickle.dumps(content))
        else:
            Image.new("L", (4, 4), content).save(path)
    return folder


def captions_of(found: TextSamples) -> dict[str, tuple[str, ...]]:
    frame = found.samples.frame
    return {image: found.texts[at] for image, at in zip(frame["image"], frame["labels"], strict=True)}


def schema_of(**table: Any) -> TextSchema:
    base = {"files": [{"match": "texts.csv"}], "image": "{image}", "texts": {"caption": "{caption}"}}
    return TextSchema.model_validate(
        {
            "id": "small",
            "title": "Small",
            "modality": "X-ray",
            "anatomy": "chest",
            "sources": ["made for tests"],
            "use": ["caption"],
            "tables": [base | table],
        }
    )


MIMIC_REPORT = " FINDINGS:\n\n Clear lungs.\n\n IMPRESSION:\n\n Normal.\n"
XML = """<eCitation><Abstract><AbstractText Label="FINDINGS">Clear.</AbstractText>
<AbstractText Label="IMPRESSION">Normal.</AbstractText></Abstract>
<parentImage id="CXR1_1_IM-0001-3001"/><parentImage id="CXR1_1_IM-0001-4001"/></eCitation>"""
QA = [
    {"image": "train_0001", "question": "What is shown?", "answer": "liver"},
    {"image": "train_0001", "question": "Is it normal?", "answer": "no"},
]

DATASETS: dict[str, tuple[Files, dict[str, tuple[str, ...]]]] = {
    "chexpert_plus": (
        {
            "df_chexpert_plus_240401.csv": "path_to_image,section_findings,section_impression,split\n"
            "train/patient1/study1/view1_frontal.jpg,Clear.,Normal.,train\n"
            "train/patient2/study1/view1_frontal.jpg,,Effusion.,train\n"
        },
        {
            "train/patient1/study1/view1_frontal.jpg": ("Clear. Normal.",),
            "train/patient2/study1/view1_frontal.jpg": ("Effusion.",),
        },
    ),
    "ct_rate": (
        {
            "train_reports.csv": "VolumeName,ClinicalInformation_EN,Technique_EN,Findings_EN,Impressions_EN\n"
            'train_1_a_1.nii.gz,,,"Trachea is open.\nNo effusion.",Normal.\n'
        },
        {"train_1_a_1": ("Trachea is open. No effusion. Normal.",)},
    ),
    "deepeyenet": (
        {
            "DeepEyeNet_train.json": [
                {"eyenet0420/train_set/a-1.jpg": {"keywords": "drusen", "clinical-description": "Many drusen."}}
            ],
            "DeepEyeNet_test.json": [
                {"eyenet0420/test_set/b-1.jpg": {"keywords": "amd", "clinical-description": "Dry AMD."}}
            ],
        },
        {
            "eyenet0420/train_set/a-1.jpg": ("Many drusen.",),
            "eyenet0420/test_set/b-1.jpg": ("Dry AMD.",),
        },
    ),
    "llava_med_alignment": (
        {
            "llava_med_alignment_500k.json": [
                {
                    "id": "1",
                    "image": "1.jpg",
                    "conversations": [
                        {"from": "human", "value": "Describe <image>"},
                        {"from": "gpt", "value": "A CT.\n"},
                    ],
                }
            ]
        },
        {"1.jpg": ("A CT.",)},
    ),
    "llava_med_instruct": (
        {
            "llava_med_instruct_fig_captions.json": {
                "train": [{"pair_id": "7_F1", "fig_caption": "Figure 1.", "in_text_mention": None}],
                "test": [{"pair_id": "8_F1", "fig_caption": "Figure 2.", "in_text_mention": [{"tokens": "See it."}]}],
            }
        },
        {"7_F1.jpg": ("Figure 1.",), "8_F1.jpg": ("Figure 2.",)},
    ),
    "m3d_cap": (
        {
            "M3D_Cap.json": {
                "train": [{"image": "ct_case/000012/Axial_bone_window.npy", "text": "ct_case/000012/text.txt"}],
                "validation": [],
                "test": [{"image": "ct_quizze/000001/Axial.npy", "text": "ct_quizze/000001/text.txt"}],
            },
            "ct_case/000012/text.txt": "A fracture\nof the hip.",
            "ct_quizze/000001/text.txt": "A stone.",
        },
        {
            "ct_case/000012/Axial_bone_window.npy": ("A fracture of the hip.",),
            "ct_quizze/000001/Axial.npy": ("A stone.",),
        },
    ),
    "m3d_vqa": (
        {
            "M3D_VQA_test.csv": "Image Path,Text,Question Type,Question,Choice A,Choice B,Choice C,Choice D,Answer,Answer Choice\n"
            "M3D_Cap_npy/ct_case/000012/Axial.npy,,1,Which plane?,Axial,Coronal,Sagittal,None,Axial,A\n"
        },
        {"ct_case/000012/Axial.npy": ("Question: Which plane? Answer: Axial",)},
    ),
    "medpix2": (
        {
            "Descriptions.json": [
                {
                    "Type": "CT",
                    "U_id": "MPX1009",
                    "image": "MPX1009_synpic46283",
                    "Description": {"Age": "73", "Caption": "Axial CT of the bladder.", "Plane": "Axial"},
                    "Location": "Bladder",
                }
            ]
        },
        {"MPX1009_synpic46283": ("Axial CT of the bladder.",)},
    ),
    "medicat": (
        {
            "s2_full_figures_oa_nonroco_combined_medical_top4_public.jsonl": [
                {"pdf_hash": "ab", "fig_uri": "2-Figure1-1.png", "radiology": True, "s2_caption": "CT."},
                {"pdf_hash": "ab", "fig_uri": "3-Figure2-1.png", "radiology": False, "s2_caption": "A chart."},
                {
                    "pdf_hash": "cd",
                    "fig_uri": "1-Figure1-1.png",
                    "radiology": True,
                    "s2_caption": "",
                    "s2orc_caption": "MR.",
                },
            ]
        },
        {"ab_2-Figure1-1.png": ("CT.",), "cd_1-Figure1-1.png": ("MR.",)},
    ),
    "mimic_cxr": (
        {
            "mimic-cxr-2.0.0-metadata.csv": "dicom_id,subject_id,study_id\nd1,10000032,50414267\nd2,10000032,50414267\n",
            "files/p10/p10000032/s50414267.txt": MIMIC_REPORT,
        },
        {f"p10000032/s50414267/d{n}.jpg": ("Clear lungs. Normal.",) for n in (1, 2)},
    ),
    "mm_retinal": (
        {"39_MM_Retinal_dataset.csv": "image,caption\n39_MM_Retinal_dataset/CFP/1.png,A macular hole.\n"},
        {"39_MM_Retinal_dataset/CFP/1.png": ("A macular hole.",)},
    ),
    "openi": (
        {"ecgen-radiology/1.xml": XML},
        {"CXR1_1_IM-0001-3001.png": ("Clear. Normal.",), "CXR1_1_IM-0001-4001.png": ("Clear. Normal.",)},
    ),
    "patchgastric_captions": (
        {
            "captions.csv": f"id,subtype,text\n{'a' * 32},Mucinous adenocarcinoma,Mucin.\n",
            f"patches_captions/{'a' * 32}_1f.jpg": 1,
            f"patches_captions/{'a' * 32}_2f.jpg": 2,
        },
        {f"patches_captions/{'a' * 32}_1f.jpg": ("Mucin.",), f"patches_captions/{'a' * 32}_2f.jpg": ("Mucin.",)},
    ),
    "pathvqa": (
        {"train_qa.pkl": QA},
        {"train_0001.jpg": ("Question: What is shown? Answer: liver", "Question: Is it normal? Answer: no")},
    ),
    "pmc_oa": (
        {"train.jsonl": [{"image": "PMC1_F1_1.jpg", "caption": "MRI.", "pmcid": "PMC1", "url_name": "x"}]},
        {"PMC1_F1_1.jpg": ("MRI.",)},
    ),
    "pmc_vqa": (
        {
            "train.csv": "Figure_path,Question,Answer,Choice A,Choice B,Choice C,Choice D,Answer_label\n"
            "PMC1_F1.jpg,What uptake?,Focal, A:Diffuse, B:Focal, C:None, D:Unknown,B\n"
        },
        {"PMC1_F1.jpg": ("Question: What uptake? Answer: Focal",)},
    ),
    "quilt_1m": (
        {
            "quilt_1M_lookup.csv": ",caption,image_path,subset,split,not_histology\n"
            "0,Glands.,a.jpg,quilt,train,0\n1,A speaker.,b.jpg,quilt,train,1\n2,Mitoses.,a.jpg,quilt,train,0\n"
        },
        {"a.jpg": ("Glands.", "Mitoses.")},
    ),
    "roco": (
        {"train/radiology/captions.txt": "ROCO_00001\t Chest CT.\nROCO_00002\t \n"},
        {"ROCO_00001.jpg": ("Chest CT.",)},
    ),
    "rocov2": (
        {"train_captions.csv": "ID,Caption\nROCOv2_2023_train_000001,Chest CT.\n"},
        {"ROCOv2_2023_train_000001.jpg": ("Chest CT.",)},
    ),
    "slake": (
        {
            "train.json": [
                {"img_name": "xmlab1/source.jpg", "question": "Which organ?", "answer": "Liver", "q_lang": "en"},
                {"img_name": "xmlab1/source.jpg", "question": "哪个器官?", "answer": "肝", "q_lang": "zh"},
            ]
        },
        {"xmlab1/source.jpg": ("Question: Which organ? Answer: Liver",)},
    ),
    "vqa_rad": (
        {"VQA_RAD Dataset Public.json": [{"image_name": "synpic1.jpg", "question": "Infarct?", "answer": "Yes"}]},
        {"synpic1.jpg": ("Question: Infarct? Answer: Yes",)},
    ),
}


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_a_dataset_that_ships_is_read_as_its_files_are_published(tmp_path: Path, name: str) -> None:
    files, expected = DATASETS[name]
    assert captions_of(read_texts(load_text_schema(name), write(tmp_path, files))) == expected


def test_every_dataset_that_ships_has_its_test() -> None:
    assert sorted(DATASETS) == resources.names("text_schemas")


def test_the_other_release_of_open_i_says_the_same(tmp_path: Path) -> None:
    files = {
        "indiana_reports.csv": "uid,MeSH,findings,impression\n1,normal,Clear.,Normal.\n2,normal,,\n",
        "indiana_projections.csv": "uid,filename,projection\n1,1_IM-0001-4001.dcm.png,Frontal\n",
    }
    found = read_texts(load_text_schema("openi"), write(tmp_path, files))
    assert captions_of(found) == {"1_IM-0001-4001.dcm.png": ("Clear. Normal.",)}
    assert found.samples.rejects["code"].tolist() == ["no_image"]


def test_real_reports_of_open_i_have_the_published_counts() -> None:
    folder = Path(os.environ.get("CAPTIONER_OPENI", REAL_DATA / "openi"))
    if not folder.is_dir():
        pytest.skip(f"needs the 3,955 reports of NLMCXR_reports.tgz: set CAPTIONER_OPENI (looked in {folder})")
    found = read_texts(load_text_schema("openi"), folder)
    assert found.samples.rows == 3955
    assert (found.samples.rejects["code"] == "no_image").sum() == 104


def test_all_kinds_of_text_may_be_asked_for_together(tmp_path: Path) -> None:
    files, _ = DATASETS["llava_med_instruct"]
    found = read_texts(load_text_schema("llava_med_instruct"), write(tmp_path, files), use=["caption", "mention"])
    assert captions_of(found)["8_F1.jpg"] == ("Figure 2.", "See it.")


def test_another_release_with_other_columns_is_tried_before_anything_is_refused(tmp_path: Path) -> None:
    files = {"quilt_1M_lookup.csv": ",caption,image_path,subset,split\n0,Glands.,a.jpg,quilt,train\n"}
    assert captions_of(read_texts(load_text_schema("quilt_1m"), write(tmp_path, files))) == {"a.jpg": ("Glands.",)}


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    files, _ = DATASETS["pmc_oa"]
    found = read_texts(load_text_schema("pmc_oa"), write(tmp_path, files))
    assert "not there, and left out: valid.jsonl, test.jsonl" in found.samples.notes


# ---- bad input


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "it needs texts.csv"),
        ({"texts.csv": "file,caption\na.jpg,x\n"}, "no column 'image'.*it has: file, caption"),
        ({"texts.csv": "<html>no</html>"}, "web page"),
        ({"a/texts.csv": "image,caption\n", "b/texts.csv": "image,caption\n"}, "there 2 times"),
    ],
)
def test_a_table_that_cannot_be_used_says_what_to_do(tmp_path: Path, files: Files, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_texts(schema_of(), write(tmp_path, files))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("texts.json", '[{"image": "a.jpg"', "not valid JSON.*cut short"),
        ("texts.json", "[" * 100_000, "nested too deeply|not valid JSON"),
        ("texts.json", '{"train": []}', "not a list of records"),
        ("texts.pkl", b"cos\nsystem\n(S'true'\ntR.", "more than data is never loaded"),
        ("texts.pkl", b"\x80\x04", "not a pickle"),
        ("texts.parquet", b"PAR1", "not a Parquet file"),
        ("texts.docx", "x", "no kind of file"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_texts(schema_of(files=[{"match": name}]), write(tmp_path, {name: content}))


def test_records_that_cannot_be_used_are_listed_with_their_row_and_the_others_kept(tmp_path: Path) -> None:
    lines = [
        '{"image": "a.jpg", "caption": "Clear."}',
        '{"image": "b.jpg", "caption": ',
        "[1]",
        '{"image": "", "caption": "x"}',
        '{"image": "c.jpg", "caption": "nan"}',
        '{"image": "../d.jpg", "caption": "x"}',
        '{"image": "/etc/passwd", "caption": "x"}',
    ]
    schema = schema_of(files=[{"match": "texts.jsonl"}])
    found = read_texts(schema, write(tmp_path, {"texts.jsonl": "\n".join(lines)}))
    assert captions_of(found) == {"a.jpg": ("Clear.",)}
    rejects = dict(zip(found.samples.rejects["row"], found.samples.rejects["code"], strict=True))
    assert rejects == {
        2: "bad_record",
        3: "bad_record",
        4: "no_image",
        5: "no_text",
        6: "bad_image_reference",
        7: "bad_image_reference",
    }


def test_a_report_outside_the_folder_is_never_read(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    data = write(
        tmp_path / "data", {"texts.csv": "image,report\na.jpg,../secret.txt\nb.jpg,link.txt\nc.jpg,none.txt\n"}
    )
    (data / "link.txt").symlink_to(tmp_path / "secret.txt")
    schema = schema_of(read={"text": "{report}"}, texts={"caption": "{text}"})
    found = read_texts(schema, data)
    assert captions_of(found) == {}
    assert found.samples.rejects["code"].tolist() == ["missing_report"] * 3


def test_a_kind_of_text_that_is_not_there_is_an_error_that_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'reprot'.*Did you mean 'report'"):
        read_texts(load_text_schema("openi"), tmp_path, use=["reprot"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"texts": {"caption": "{a"}}, "no field"),
        ({"image": "image"}, "no field"),
        ({"joins": []}, "joins"),
        ({"join": [{"by": ["id"]}]}, "either 'match' or 'images'"),
        ({"join": [{"images": "(", "by": ["id"]}]}, "not a regular expression"),
        ({"join": [{"images": "x", "by": ["id"]}]}, "no group"),
    ],
)
def test_a_schema_that_is_not_valid_says_where(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = json.loads(schema_of().model_dump_json(exclude_defaults=True))
    content["tables"][0] |= change
    path = write(tmp_path, {"mine.yaml": json.dumps(content)}) / "mine.yaml"
    with pytest.raises(SchemaError, match=message):
        load_text_schema(str(path))


# ---- runs


def run(data: Path, out: Path, *settings: str, schema: str = "pmc_oa") -> TextSummary:
    spec = settings_of(TextPipeline, {"texts": schema, "data": {"root": data}, "out": out}, settings, where=schema)
    return execute(prepare(spec, load_text_schema(schema)))


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    rows = [{"image": f"PMC{i}.jpg", "caption": f"Figure {i}."} for i in range(5)]
    images = {f"images/PMC{i}.jpg": 10 * i for i in range(4)}
    return write(tmp_path / "data", {"train.jsonl": [*rows, {"image": "PMC0.jpg", "caption": "Again."}], **images})


def members(folder: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            found |= {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
    return found


def test_texts_become_caption_shards_beside_the_image_shards(figures: Path, tmp_path: Path) -> None:
    summary = run(figures, tmp_path / "out", "shards.size=2")
    assert (summary.samples, summary.images, summary.captions, summary.excluded) == (4, 4, 5, 1)
    assert summary.exit_code == 1
    images, captions = members(tmp_path / "out/images"), members(tmp_path / f"out/runs/{summary.run}/captions")
    assert [n.split(".")[0] for n in images] == [n.split(".")[0] for n in captions]
    assert json.loads(captions["pmc_oa-PMC0.captions.json"])["captions"] == ["Figure 0.", "Again."]
    assert images["pmc_oa-PMC1.jpg"] == (figures / "images/PMC1.jpg").read_bytes()
    assert verify(tmp_path / "out/images") == []
    rejects = pd.read_csv(tmp_path / f"out/runs/{summary.run}/rejected_rows.csv")
    assert rejects[["file", "row", "code"]].to_numpy().tolist() == [["train.jsonl", 5, "missing_image"]]


def test_running_again_writes_the_same_bytes(figures: Path, tmp_path: Path) -> None:
    once = run(figures, tmp_path / "a")
    run(figures, tmp_path / "b")
    run(figures, tmp_path / "b")
    for folder in ("images", f"runs/{once.run}/captions"):
        assert members(tmp_path / "a" / folder) == members(tmp_path / "b" / folder)


def test_without_images_the_texts_are_a_table(figures: Path, tmp_path: Path) -> None:
    summary = run(figures, tmp_path / "out", "data.images=none")
    assert (summary.images, summary.exit_code) == (None, 0)
    table = pd.read_parquet(tmp_path / f"out/runs/{summary.run}/captions.parquet")
    assert table["key"].tolist() == [f"pmc_oa-PMC{i}" for i in range(5)]
    assert table["captions"][0].tolist() == ["Figure 0.", "Again."]


def test_reports_stand_beside_the_captions_of_the_same_images(tmp_path: Path) -> None:
    from captioner import run as running
    from captioner.pipeline import load_pipeline
    from captioner.schema import load_schema

    findings = load_schema("mimic_cxr_jpg").codes
    values = ",".join("1.0" if code == "No Finding" else "" for code in findings)
    unlabelled = "10000032,50414268" + "," * len(findings)
    files = {
        "mimic-cxr-2.0.0-chexpert.csv": (
            f"subject_id,study_id,{','.join(findings)}\n10000032,50414267,{values}\n{unlabelled}\n"
        ),
        "mimic-cxr-2.0.0-metadata.csv": "dicom_id,subject_id,study_id,ViewPosition\nd1,10000032,50414267,PA\n",
        "mimic-cxr-2.0.0-split.csv": "dicom_id,study_id,subject_id,split\nd1,50414267,10000032,train\n",
        "files/p10/p10000032/s50414267.txt": MIMIC_REPORT,
        "files/p10/p10000032/s50414267/d1.jpg": 7,
    }
    data, out = write(tmp_path / "data", files), tmp_path / "out"
    generated = running.execute(
        running.prepare(load_pipeline({"schema": "mimic_cxr_jpg", "data": {"root": data}, "out": out}))
    )
    reports = run(data, out, schema="mimic_cxr")
    assert reports.exit_code == generated.exit_code == 0
    keys = [set(members(out / f"runs/{r}/captions")) for r in (generated.run, reports.run)]
    assert keys[0] == keys[1]
    assert len(keys[0]) == 1
    left_out = [pd.read_csv(f / "rejected_rows.csv")["code"].tolist() for f in (out, out / "runs" / reports.run)]
    assert left_out == [["not_chosen"], []]  # neither run's list is written over the other's


def test_volumes_and_their_reports_become_shards(tmp_path: Path) -> None:
    files, _ = DATASETS["m3d_cap"]
    data = write(tmp_path / "data", files)
    for n in range(4):
        write(data, {f"ct_case/000012/Axial_bone_window/{n}.png": 60 * n})
    stack(data, tmp_path / "volumes")
    summary = run(data, tmp_path / "out", f"data.images={tmp_path / 'volumes'}", schema="m3d_cap")
    assert (summary.images, summary.excluded) == (1, 1)
    key = "m3d_cap-ct_case-000012-Axial_bone_window"
    volume = np.load(io.BytesIO(members(tmp_path / "out/images")[f"{key}.npy"]), allow_pickle=False)
    assert volume.shape == (4, 4, 4)
    caption = json.loads(members(tmp_path / f"out/runs/{summary.run}/captions")[f"{key}.captions.json"])
    assert caption["captions"] == ["A fracture of the hip."]
    assert verify(tmp_path / "out/images") == []
    assert pd.read_parquet(tmp_path / "out/images/manifest.parquet")["mode"].tolist() == ["uint8[4]"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (np.zeros((2, 3, 4), np.uint8), None),
        (np.zeros((2, 3), np.uint8), "unsupported_type"),
        (np.array([None] * 8).reshape(2, 2, 2), "unsupported_type"),
        (b"\x93NUMPY\x01\x00", "corrupt_image"),
        (b"cut", "corrupt_image"),
    ],
)
def test_only_a_whole_array_of_three_dimensions_is_a_volume(
    tmp_path: Path, content: npt.NDArray[Any] | bytes, code: str | None
) -> None:
    data = write(tmp_path / "data", {"train.jsonl": [{"image": "a.npy", "caption": "A CT."}]})
    if isinstance(content, bytes):
        whole = io.BytesIO()
        np.save(whole, np.zeros((2, 3, 4), np.uint8))
        (data / "a.npy").write_bytes(whole.getvalue()[:-1] if content == b"cut" else content)
    else:
        np.save(data / "a.npy", content)
    summary = run(data, tmp_path / "out")
    rejects = pd.read_csv(tmp_path / f"out/runs/{summary.run}/rejected_rows.csv")
    assert rejects["code"].tolist() == ([code] if code else [])


def test_texts_are_audited_with_the_labels_of_a_table(figures: Path, tmp_path: Path) -> None:
    summary = run(figures, tmp_path / "out")
    labels = tmp_path / "labels.csv"
    labels.write_text("key,labels\npmc_oa-PMC0,Effusion\npmc_oa-PMC1,Mass\n", encoding="utf-8")
    for target in (tmp_path / "out" / "runs" / summary.run, tmp_path / "out"):
        found = audit(target, "chestxray14", labels=labels)
        assert found.captions == 3
        assert [bad.code for bad in found.bad] == ["no_label"] * 2
        assert found.bad[0].reason == (
            f"no label: {labels} has no 'pmc_oa-PMC2' in its column 'key' (the first there is 'pmc_oa-PMC0')"
        )


def test_texts_without_images_are_audited_with_the_labels_of_a_table(figures: Path, tmp_path: Path) -> None:
    run(figures, tmp_path / "out", "data.images=none")
    labels = tmp_path / "labels.csv"
    labels.write_text("key,labels\npmc_oa-PMC0,Effusion\n", encoding="utf-8")
    found = audit(tmp_path / "out", "chestxray14", labels=labels)
    assert (found.captions, found.problems) == (2, {"no_label": 4})
    assert "has no 'pmc_oa-PMC1'" in found.bad[0].reason


@pytest.mark.parametrize("images", ["auto", "none"])
def test_texts_without_a_table_of_labels_are_not_audited(figures: Path, tmp_path: Path, images: str) -> None:
    summary = run(figures, tmp_path / "out", f"data.images={images}")
    folder = tmp_path / "out" / "runs" / summary.run
    for target in (tmp_path / "out", folder):
        with pytest.raises(UsageError, match=r"come without labels.* captioner audit .* --labels TABLE") as error:
            audit(target, "chestxray14")
        assert f"captioner audit {folder} " in str(error.value)


def test_a_table_of_labels_without_rows_or_keys_is_refused(figures: Path, tmp_path: Path) -> None:
    run(figures, tmp_path / "out")
    labels = tmp_path / "labels.csv"
    for content, message in (
        ("key,labels\n", "no rows"),
        ("sample,labels\na,Mass\n", "no column of keys among: sample"),
    ):
        labels.write_text(content, encoding="utf-8")
        with pytest.raises(UsageError, match=message):
            audit(tmp_path / "out", "chestxray14", labels=labels)
