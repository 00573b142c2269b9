"""Tables of older schema versions brought up, a pure function a version; the files stay as they are."""

import pyarrow as pa

# Columns that a version added to TRIALS, with what the one before always did; None where it measured nothing.
NEW_IN_2 = {
    "arm": None, "confirms": None, "classifier_key": None, "num_leaked_test": None,
    "training_fraction": 1.0, "oversampling": 0.0, "classifier_flip": True,
    "validation_mcc": None, "validation_sensitivity_at_95_specificity": None, "validation_ece": None,
    "test_mcc": None, "test_sensitivity_at_95_specificity": None, "test_ece": None,
}  # fmt: skip
NEW_IN_3 = {
    "tf32": False, "classifier_frozen": False, "micro_batches": 1, "step_backend": "eager",
    "saved_seconds": None, "startup_seconds": None,
}  # fmt: skip


def from_1(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Version 1 knew no arms and no part of the training set. Columns in `schema`'s order, unknown ones last."""
    return _with_columns(table, NEW_IN_2, schema)


def from_2(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Version 2 had one way to take a step, and did not say what it had saved. Columns as `from_1` orders them."""
    return _with_columns(table, NEW_IN_3, schema)


def _with_columns(table: pa.Table, new: dict, schema: pa.Schema) -> pa.Table:
    for field in schema:
        if field.name in new and field.name not in table.schema.names:
            value = pa.scalar(new[field.name], field.type)
            table = table.append_column(field, pa.repeat(value, len(table)))
    known = [name for name in schema.names if name in table.schema.names]
    others = [name for name in table.schema.names if name not in schema.names]
    return table.select(known + others).replace_schema_metadata(schema.metadata)


MIGRATIONS = {1: from_1, 2: from_2}  # version -> to the next one
