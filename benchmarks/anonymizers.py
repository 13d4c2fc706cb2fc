"""How many values of the profile's table does each anonymizer leave in a file in which every attribute holds a marker?

    python benchmarks/anonymizers.py      (pip install --no-deps dicognito==0.19.0 deid==0.4.13 first; deid needs python-dateutil)
"""
import logging, sys, tempfile, warnings
from pathlib import Path

sys.path[:0] = [*(str(Path(__file__).parents[1]/"tests"/f) for f in ("", "support"))]
warnings.simplefilter("ignore"); logging.disable(logging.CRITICAL)
import pydicom
from pydicom.dataset import Dataset
import test_privacy as t


def marked(folder: Path):
    "The file, and the markers at its top and in a sequence that no table removes."
    ds, item = t.make_ct(), Dataset()
    top, nested = t.fill(ds, 1), t.fill(item, 1000)
    ds.add_new(0x00189346, "SQ", [item])
    ds.file_meta.SourceApplicationEntityTitle, ds.preamble = "ZQ99996KX", b"ZQ99998KX".ljust(128, b"\1")
    return t.save(ds, folder/"marked.dcm"), *([text for _, text in found.values() if text] for found in (top, nested))


def ours(source, out):
    from covid_nbdev.deidentify import deidentify
    deidentify(source, out.with_suffix(""), progress=False)
    next(out.with_suffix("").rglob("*.dcm")).rename(out)


def dicom_anonymizer(source, out):
    from dicomanonymizer.simpledicomanonymizer import anonymize_dataset, initialize_actions
    ds = pydicom.dcmread(source)
    anonymize_dataset(ds, base_rules_gen=lambda: initialize_actions("dicomfields_2026c"))
    ds.save_as(out)


def dicognito(source, out):
    from dicognito.anonymizer import Anonymizer
    ds = pydicom.dcmread(source)
    Anonymizer(seed="same every time").anonymize(ds)
    ds.save_as(out)


def deid(source, out):
    from deid.config import DeidRecipe
    from deid.dicom import replace_identifiers
    replace_identifiers(dicom_files=[str(source)], deid=DeidRecipe(), save=False, strip_sequences=False, remove_private=True)[0].save_as(out)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        source, top, nested = marked(Path(folder))
        for way in (ours, dicom_anonymizer, dicognito, deid):
            out = Path(folder)/f"{way.__name__}.dcm"
            try: way(source, out)
            except ImportError as e: print(f"{way.__name__}: not installed ({e})"); continue
            raw = out.read_bytes()
            left = [sum(text.encode() in raw for text in found) for found in (top, nested)]
            print(f"{way.__name__}: {left[0]} of {len(top)} left at the top, {left[1]} of {len(nested)} in the sequence; "
                  f"preamble {'left' if b'ZQ99998' in raw else 'cleared'}, sender {'left' if b'ZQ99996' in raw else 'cleared'}")
