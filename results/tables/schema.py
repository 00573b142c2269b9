"""The Arrow schemas of a study's tables; the column names are the contract with every reader.

Every column may be null: a failed trial has no metrics. A change of columns raises `SCHEMA_VERSION`, which each file
carries in its metadata. Files of a newer or unknown version are refused by name, never guessed at; an older one is
brought up when it is read by the functions of `migrations.py`, version by version; no file is rewritten in place.

Version 2 (evidence): in TRIALS the columns arm, confirms, classifier_key, training_fraction, oversampling,
classifier_flip, *_mcc, *_sensitivity_at_95_specificity, *_ece, num_leaked_test; the tables PREDICTIONS,
GENERATOR_METRICS, NEIGHBOURS, ATTRIBUTES, ESTIMATES and COMPARISONS.
Version 3 (speed): in TRIALS the columns tf32, classifier_frozen, micro_batches, step_backend, saved_seconds and
startup_seconds.
"""

import pyarrow as pa

SCHEMA_VERSION = 3

TEXT, INT, REAL, FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()


def _columns(dtype: pa.DataType, names: str) -> list[pa.Field]:
    return [pa.field(name, dtype) for name in names.split()]


def _diagnosis(split: str) -> list[pa.Field]:
    rates = "accuracy precision recall f1 mcc tpr fpr auroc auprc sensitivity_at_95_specificity brier ece"
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
        # identity: status completed | pruned | failed, phase baseline | paper | search | confirm, started_at in UTC,
        # ISO 8601. arm is what the classifier was trained on; confirms is the trial of the search whose
        # GAN and ratio a confirm row repeats, with the study's base classifier; classifier_key names all settings of
        # the classifier but the arm's, so that arms of equal key are compared.
        *_columns(TEXT, "study trial_id phase status reason started_at preset objective gan_key"),
        *_columns(TEXT, "arm confirms classifier_key"),
        *_columns(FLAG, "gan_reused"),
        # config, generator side: decides the GAN
        *_columns(TEXT, "backbone precision feature_extractor"),
        *_columns(INT,  "lstm_depth lstm_width latent_dim decoder_width critic_width image_size seed"),
        *_columns(INT,  "penalty_interval critic_steps gan_batch_size gan_epochs gan_eval_interval eval_images"),
        *_columns(REAL, "backbone_width backbone_depth penalty_weight"),
        *_columns(REAL, "generator_lr critic_lr adam_beta1 adam_beta2 ema_decay"),
        *_columns(FLAG, "pretrained gan_flip tf32"),
        *_columns(REAL, "training_fraction"),
        # config, mixing and classifier: training_images is real_and_synthetic | synthetic_only
        *_columns(TEXT, "training_images classifier_backbone"),
        *_columns(INT,  "classifier_width classifier_lstm_width classifier_lstm_depth"),
        *_columns(INT,  "classifier_epochs classifier_batch_size"),
        *_columns(REAL, "synthetic_ratio oversampling classifier_lr weight_decay dropout rotation zoom contrast"),
        *_columns(FLAG, "classifier_flip classifier_pretrained classifier_frozen"),
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
        # num_leaked_test: test images whose group, or a near-duplicate, is in the training set
        *_columns(INT,  "num_train_real num_train_synthetic num_leaked_test"),
        *_columns(INT,  "generator_parameters generator_lstm_parameters critic_parameters classifier_parameters"),
        # cost: startup_seconds from the proposal to the trial's start in its worker; saved_seconds of GAN training
        # that a reused GAN did not cost again, or that stopping spared: the remaining epochs times seconds an epoch;
        # step_backend is eager | compiled | cuda_graph, micro_batches how many made up a batch (1: it fitted whole)
        *_columns(REAL, "seconds gan_seconds classifier_seconds evaluation_seconds startup_seconds saved_seconds"),
        *_columns(REAL, "gan_images_per_second seconds_per_synthetic_image"),
        *_columns(INT,  "peak_memory_bytes micro_batches"),
        *_columns(TEXT, "step_backend"),
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

# One row an image and condition of a trial; side is validation | test | external, corruption "none" has strength 0,
# others 1 to 3. Join with TRIALS on trial_id for everything else.
PREDICTIONS = _schema(
    [
        *_columns(TEXT, "study trial_id arm"),
        *_columns(INT,  "seed"),
        *_columns(TEXT, "side corruption"),
        *_columns(INT,  "strength"),
        *_columns(TEXT, "image_id group"),
        *_columns(INT,  "label"),
        *_columns(REAL, "probability"),
    ],
    missing_keys="error",
)  # fmt: skip

# One row a GAN, extractor and class; label is null for both classes together. *_floor: real training images in the
# place of the synthetic ones, as many. Distances without unit; *_pixels by root mean square over pixels in [0, 255].
GENERATOR_METRICS = _schema(
    [
        *_columns(TEXT, "study gan_key trial_id confirms backbone"),
        *_columns(INT,  "lstm_depth seed"),
        *_columns(TEXT, "feature_extractor"),
        *_columns(INT,  "label num_real num_fake"),
        *_columns(REAL, "frechet_distance frechet_floor kid_mean kid_std kid_floor"),
        *_columns(REAL, "inception_score inception_score_real"),
        *_columns(REAL, "precision precision_floor recall recall_floor"),
        *_columns(REAL, "density density_floor coverage coverage_floor"),
        # copying: nearest_train_ratio is the median distance to the nearest training image over that of held-out real
        # images; copy_rate the share of synthetic images nearer than the held-out 1st percentile
        *_columns(REAL, "nearest_train_ratio nearest_train_ratio_pixels copy_rate copy_rate_pixels"),
        # copied_share: at most half as far from the nearest training image as from any of another group; of held-out
        # real images copied_share_real. copy_rate alone misleads: smooth images are near to everything.
        *_columns(REAL, "copied_share copied_share_real"),
        # diversity_ratio: mean distance between two synthetic images over that between two real ones;
        # separation_ratio: the same of the distance to the nearest sibling, as a part of the mean distance
        *_columns(REAL, "diversity diversity_real diversity_ratio diversity_ratio_pixels"),
        *_columns(REAL, "separation_ratio separation_ratio_pixels"),
        *_columns(TEXT, "verdict"),
    ],
    missing_keys="error",
)  # fmt: skip

# One row an image: kind is synthetic | held_out, its nearest training image in features and in pixels.
NEIGHBOURS = _schema(
    [
        *_columns(TEXT, "study gan_key feature_extractor kind"),
        *_columns(INT,  "number label"),  # number: rank by distance; 0 to 7 are in `gans/<gan_key>/closest.png`
        *_columns(TEXT, "image_id nearest_image_id nearest_image_id_pixels"),
        *_columns(REAL, "feature_distance pixel_distance"),
    ],
    missing_keys="error",
)  # fmt: skip

# One row an image and attribute; source is "file" or "ITA estimate", kind real | synthetic.
ATTRIBUTES = _schema(
    [
        *_columns(TEXT, "study source kind gan_key side image_id attribute"),
        *_columns(REAL, "value"),  # degrees, of an ITA estimate
    ],
    missing_keys="error",
)  # fmt: skip

# One row an arm, condition and metric: mean and deviation over seeds, 95 % interval by bootstrap, groups and seeds
# resampled (BCa); none for ece, nor where there are too few groups to tell.
ESTIMATES = _schema(
    [
        *_columns(TEXT, "study gan arm classifier_key split_protocol"),
        *_columns(REAL, "training_fraction"),
        *_columns(TEXT, "side corruption"),
        *_columns(INT,  "strength"),
        *_columns(TEXT, "subgroup metric"),
        *_columns(REAL, "value sd ci_low ci_high"),
        *_columns(INT,  "num_seeds num_images num_positive num_groups"),
    ],
    missing_keys="error",
)  # fmt: skip

# One row a paired difference a - b on the same test images and seeds; p_adjusted by Holm within family, metric and
# side. The family leakage alone compares two sets of test images, and is not paired.
COMPARISONS = _schema(
    [
        *_columns(TEXT, "study family metric gan arm_a arm_b classifier_key split_protocol"),
        *_columns(REAL, "training_fraction"),
        *_columns(TEXT, "side"),
        *_columns(REAL, "value_a value_b difference ci_low ci_high p_value p_adjusted"),
        *_columns(TEXT, "test"),
        *_columns(INT,  "num_seeds num_images num_positive num_groups"),
    ],
    missing_keys="error",
)  # fmt: skip

# Folder of a study -> schema; every file in the folder is a part of one table.
TABLES = {
    "trials": TRIALS,
    "history": HISTORY,
    "predictions": PREDICTIONS,
    "generator_metrics": GENERATOR_METRICS,
    "neighbours": NEIGHBOURS,
    "attributes": ATTRIBUTES,
    "estimates": ESTIMATES,
    "comparisons": COMPARISONS,
}
