"""The Arrow schemas of a study's tables; the column names are the contract with every reader.

Every column may be null: a failed trial has no metrics. A change of columns raises `SCHEMA_VERSION`, which each file
carries in its metadata. Files of another version are refused by name, never guessed at. The version that replaces
this one adds to `tables.py` one pure function, table of version n -> table of version n + 1 (new columns null,
renamed ones moved), applied before the columns are checked; no file is ever rewritten in place.
"""

import pyarrow as pa

SCHEMA_VERSION = 1

TEXT, INT, REAL, FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()


def _columns(dtype: pa.DataType, names: str) -> list[pa.Field]:
    return [pa.field(name, dtype) for name in names.split()]


def _diagnosis(split: str) -> list[pa.Field]:
    rates = "accuracy precision recall f1 tpr fpr auroc auprc brier"
    counts = "num_images num_positive"
    return [
        *_columns(REAL, " ".join(f"{split}_{name}" for name in rates.split())),
        *_columns(INT, " ".join(f"{split}_{name}" for name in counts.split())),
    ]


def _schema(columns: list[pa.Field], missing_keys: str) -> pa.Schema:
    """`missing_keys`: "error" where a writer must name every column, "null" where rows may leave some out."""
    return pa.schema(columns, {"schema_version": str(SCHEMA_VERSION), "missing_keys": missing_keys})


# One row a trial. Units: seconds, bytes, pixels; rates and probabilities in [0, 1]; psnr in dB.
TRIALS = _schema(
    [
        # identity: status completed | pruned | failed, phase baseline | paper | search, started_at in UTC, ISO 8601
        *_columns(TEXT, "study trial_id phase status reason started_at preset objective gan_key"),
        *_columns(FLAG, "gan_reused"),
        # config, generator side: decides the GAN
        *_columns(TEXT, "backbone precision feature_extractor"),
        *_columns(INT,  "lstm_depth lstm_width latent_dim decoder_width critic_width image_size seed"),
        *_columns(INT,  "penalty_interval critic_steps gan_batch_size gan_epochs gan_eval_interval eval_images"),
        *_columns(REAL, "backbone_width backbone_depth penalty_weight"),
        *_columns(REAL, "generator_lr critic_lr adam_beta1 adam_beta2 ema_decay"),
        *_columns(FLAG, "pretrained gan_flip"),
        # config, mixing and classifier: training_images is real_and_synthetic | synthetic_only
        *_columns(TEXT, "training_images classifier_backbone"),
        *_columns(INT,  "classifier_width classifier_lstm_width classifier_lstm_depth"),
        *_columns(INT,  "classifier_epochs classifier_batch_size"),
        *_columns(REAL, "synthetic_ratio classifier_lr weight_decay dropout rotation zoom contrast"),
        *_columns(FLAG, "classifier_pretrained"),
        # image quality: fid is filled for Inception features only, frechet_distance for every extractor;
        # frechet_floor is real against real, frechet_first the training's first measurement
        *_columns(REAL, "frechet_distance frechet_floor frechet_first fid kid_mean kid_std"),
        *_columns(REAL, "inception_score inception_score_real"),
        *_columns(REAL, "manifold_precision manifold_recall manifold_f1"),
        *_columns(REAL, "real_or_fake_precision real_or_fake_recall real_or_fake_f1"),
        *_columns(REAL, "ssim_nearest ssim_nearest_real psnr_nearest psnr_nearest_real nearest_train_ratio"),
        *_columns(INT,  "num_real num_fake gan_epoch"),
        # diagnosis: threshold and classifier_epoch were chosen on validation
        *_columns(REAL, "threshold"),
        *_columns(INT,  "classifier_epoch"),
        *_diagnosis("validation"),
        *_diagnosis("test"),
        # counts
        *_columns(INT,  "num_train_real num_train_synthetic"),
        *_columns(INT,  "generator_parameters generator_lstm_parameters critic_parameters classifier_parameters"),
        # cost
        *_columns(REAL, "seconds gan_seconds classifier_seconds evaluation_seconds"),
        *_columns(REAL, "gan_images_per_second seconds_per_synthetic_image"),
        *_columns(INT,  "peak_memory_bytes"),
        # data
        *_columns(TEXT, "data_fingerprint data_layout split_protocol negative_class positive_class"),
        *_columns(FLAG, "is_sample_data"),
        *_columns(INT,  "split_seed num_near_duplicates num_skipped_files"),
        # provenance: versions is a JSON object, package -> version
        *_columns(TEXT, "command commit code_version versions hardware device"),
        *_columns(INT,  "num_workers num_threads schema_version"),
    ],
    missing_keys="error",
)  # fmt: skip

# One row a report; stage is gan | classifier, and the other stage's columns stay null.
HISTORY = _schema(
    [
        *_columns(TEXT, "study trial_id gan_key stage"),
        *_columns(INT,  "epoch"),
        *_columns(REAL, "seconds images_per_second"),
        # stage gan
        *_columns(REAL, "critic_loss generator_loss wasserstein penalty frechet_distance"),
        *_columns(INT,  "num_real num_fake"),
        *_columns(TEXT, "feature_extractor"),
        # stage classifier
        *_columns(REAL, "training_loss validation_loss validation_auroc"),
    ],
    missing_keys="null",
)  # fmt: skip

# One row a published figure; value_high closes a range, plus_minus is the deviation as printed.
PUBLISHED = _schema(
    [
        *_columns(TEXT, "table model method data metric"),
        *_columns(REAL, "value value_high plus_minus"),
        *_columns(TEXT, "unit note"),
    ],
    missing_keys="error",
)
