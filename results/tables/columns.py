"""Every column of a study's tables, a line each: name, type, what it holds. `schema.py` reads these texts.

Units are named where there are any; rates, shares and probabilities lie in [0, 1]. Every column may be null.
"""

ONE_ROW = {
    "trials": "trial that has ended",
    "history": "report of a training",
    "predictions": "trial, image and corruption",
    "generator_metrics": "GAN, feature extractor and class",
    "neighbours": "image, with its nearest training images",
    "attributes": "image and attribute",
    "estimates": "arm, condition and metric",
    "comparisons": "difference between two arms",
}

# {split} is validation or test.
DIAGNOSIS = """
{split}_accuracy                      real  accuracy on {split} images at `threshold`
{split}_precision                     real  share of positive calls that are right
{split}_recall                        real  share of positive images that are found
{split}_f1                            real  harmonic mean of precision and recall
{split}_mcc                           real  Matthews correlation coefficient, -1 to 1
{split}_tpr                           real  true positive rate (sensitivity)
{split}_fpr                           real  false positive rate (1 - specificity)
{split}_auroc                         real  area under the ROC curve
{split}_auprc                         real  area under the precision-recall curve
{split}_sensitivity_at_95_specificity real  highest sensitivity at a specificity of 95 % or more on these images
{split}_brier                         real  Brier score, mean squared error of the probability
{split}_ece                           real  expected calibration error
{split}_num_images                    int   {split} images
{split}_num_positive                  int   positive {split} images
"""

TRIALS = (
    """
study                       text  name of the study
trial_id                    text  name of the trial
phase                       text  baseline, system, paper, search, finalist, confirm, judge or benchmark
status                      text  completed, pruned or failed
reason                      text  why the trial was pruned or failed
started_at                  text  start of the trial, UTC, ISO 8601
preset                      text  preset that the settings come from
objective                   text  what the search optimised
gan_key                     text  name of the GAN: equal for equal settings, data and code
arm                         text  what the classifier was trained on
confirms                    text  searched trial whose classifier a finalist repeats, others its GAN and ratio
num_judging_seeds           int   seeds that were to judge the chosen arm, fixed before the first; of judge trials
classifier                  text  name of the classifier: small, efficientnet_lite0 or a timm model
classifier_key              text  classifier settings but the arm's; only arms of equal key are compared
gan_reused                  flag  the GAN was trained by an earlier trial
system                      text  name of the method that the GAN's fields make up; null for real images only
generator                   text  recurrent (the paper's), principal (from components), style, fast, flow or laplacian
backbone                    text  blocks of the recurrent generator: plain or an EfficientNetV2
critic                      text  patch (the paper's), batch_norm, projected (frozen features) or laplacian (a pyramid)
critic_features             text  pretrained network whose features the projected critic sees
gan_objective               text  objective (models/objectives.py), or flow_matching (models/systems/flow.py)
penalty                     text  where the critic's gradient is penalised
precision                   text  number format of the trainings and predictions: float32 or bfloat16
feature_extractor           text  network whose features the Frechet distance compares
lstm_depth                  int   LSTM layers of the recurrent generator, 0 for none; others have none
lstm_width                  int   units of each LSTM layer of the generator
latent_dim                  int   length of the latent vector
decoder_width               int   channels of the generator's 8x8 map
critic_width                int   channels of the critic's first layer
image_size                  int   side of the images, pixels
seed                        int   seed of the trial
penalty_interval            int   critic steps per gradient penalty, 1 for every step
critic_steps                int   critic steps per generator step
gan_batch_size              int   images per GAN step, over all workers of the trial
gaussians                   int   Gaussians a class, at most, that a principal generator starts from
residual_width              int   channels of the principal generator's or the flow's U-Net, or of a pyramid's levels
gan_epochs                  int   epochs that the GAN is to be trained
gan_time_limit              real  seconds of training after which the GAN ends, 0 for none
gan_eval_interval           int   epochs between two Frechet distances
eval_images                 int   synthetic images per Frechet distance
backbone_width              real  channel multiplier of the EfficientNetV2 blocks
backbone_depth              real  depth multiplier of the EfficientNetV2 blocks
penalty_weight              real  weight of the penalty (lambda of Gulrajani et al. 2017, eq. 3)
generator_lr                real  learning rate of the generator
critic_lr                   real  learning rate of the critic
adam_beta1                  real  Adam's beta 1 of the GAN
adam_beta2                  real  Adam's beta 2 of the GAN
optimiser                   text  of the GAN: adam or rmsprop
weight_clip                 real  bound of the critic's weights, 0 for none
critic_augmentation         real  share of the critic's images that are augmented (models/augmentation.py)
augmentation_target         real  overfitting of the critic to which that share adapts from then on, 0 for a fixed share
ema_decay                   real  decay of the generator's weight average, per generator step
pretrained                  flag  the generator's blocks start from ImageNet weights
measure_fid                 flag  the FID is measured at the end of a GAN's training
gan_flip                    flag  real images are mirrored in GAN training
tf32                        flag  float32 products on the GPU use TensorFloat-32
training_fraction           real  share of the training groups that is used
positive_fraction           real  share of those among them with a positive image that is used
pretraining                 text  unlabelled: the GAN's first half shows all training groups' images without labels
training_images             text  real_and_synthetic or synthetic_only
classifier_backbone         text  classifier network: small, or a timm model
classifier_width            int   channels of the small classifier
classifier_lstm_width       int   units of each LSTM layer of the classifier
classifier_lstm_depth       int   LSTM layers of the classifier
classifier_epochs           int   epochs of classifier training
classifier_batch_size       int   images per classifier step, over all workers of the trial
classifier_seed             int   0: `seed` is the classifier's, too; a finalist's repeats have others
synthetic_ratio             real  synthetic images per real training image, 0 for real images only
synthetic_kept              real  share of the synthetic images that is kept, those most like real training images
oversampling                real  repeated real images per real training image
balance                     text  of unequal classes: none, oversampled, class_weights, focal or synthetic
classifier_lr               real  learning rate of the classifier
weight_decay                real  weight decay of the classifier
dropout                     real  dropout of the classifier
rotation                    real  largest random rotation of a training image to either side, degrees
zoom                        real  largest random zoom of a training image in or out, as a fraction
contrast                    real  largest random change of a training image's contrast, as a fraction
classifier_flip             flag  half of the training images are mirrored
classifier_pretrained       flag  the classifier starts from pretrained weights
classifier_frozen           flag  the classifier's pretrained features are not trained
frechet_distance            real  Frechet distance of synthetic to validation images in `feature_extractor`'s features
frechet_floor               real  the same for as many training images in place of the synthetic ones
frechet_noisy_real          real  the same for these training images with Gaussian noise, sd 0.1 of pixels in [-1, 1]
frechet_first               real  Frechet distance at the GAN's first measurement
frechet_recent              real  mean Frechet distance over the last quarter of the GAN's epochs
fid                         real  FID to the validation images; null without Inception's weights
fid_floor                   real  FID of `num_fake` training images to the validation images
fid_train                   real  FID to the training images
fid_train_floor             real  FID of num_fake validation images to the training images; null where there are fewer
fid_kid                     real  kernel distance to the validation images in Inception's features
fid_seconds                 real  measuring the FID, seconds, real images' features left out
kid_mean                    real  kernel distance to validation images, mean over subsets
kid_std                     real  kernel distance, standard deviation over subsets
inception_score             real  inception score of the synthetic images, by feature_extractor's class probabilities
inception_score_real        real  the same of validation images
manifold_precision          real  share of synthetic images on the manifold of validation images
manifold_recall             real  share of validation images on the manifold of synthetic images
manifold_f1                 real  harmonic mean of manifold_precision and manifold_recall
real_or_fake_precision      real  share of real ones among the images that a logistic regression calls real
real_or_fake_recall         real  share of the real images that it calls real
real_or_fake_f1             real  harmonic mean of real_or_fake_precision and real_or_fake_recall
ssim_nearest                real  SSIM of a synthetic image and its nearest training image, mirrored or not, mean
ssim_nearest_real           real  the same for validation images
psnr_nearest                real  PSNR of a synthetic image and its nearest training image, mirrored or not, mean, dB
psnr_nearest_real           real  the same for validation images, dB
nearest_train_ratio         real  median distance to the nearest training image, mirrored too, over that of validation
num_real                    int   real images of the Frechet distance, all validation images
num_fake                    int   synthetic images of the Frechet distance
gan_epoch                   int   epochs that the GAN was trained
gan_pretraining_epochs      int   those of them, the first ones, that showed images without labels
threshold                   real  probability from which an image is called positive, chosen on validation
classifier_epoch            int   epoch whose classifier is used, chosen on validation
"""
    + DIAGNOSIS.format(split="validation")
    + DIAGNOSIS.format(split="test")
    + """
num_train_real              int   real training images
num_train_synthetic         int   synthetic training images
num_leaked_test             int   test images whose group, near-duplicates included, is in the training set
generator_parameters        int   weights of the generator
generator_lstm_parameters   int   weights of the generator's LSTM
critic_parameters           int   weights of the critic
classifier_parameters       int   weights of the classifier
seconds                     real  the trial without its start-up and without loading the data, seconds
gan_seconds                 real  GAN training without measuring its images, seconds
classifier_seconds          real  classifier training with its validation, seconds
evaluation_seconds          real  measuring the GAN's images during and after its training, seconds
startup_seconds             real  from the proposal to the start in the worker, seconds
saved_seconds               real  GAN training saved by reuse or, of a pruned trial, by stopping, seconds
gan_images_per_second       real  real images per second of GAN training, those without labels included
seconds_per_synthetic_image real  sampling of the training images, seconds an image
peak_memory_bytes           int   first worker's largest use of GPU memory, without a GPU of main memory, bytes
micro_batches               int   parts that a batch was split into, 1 where it fitted into memory
step_backend                text  how a GAN step runs: eager or cuda_graph
data_fingerprint            text  checksum of the prepared images
data_layout                 text  layout that the photographs' folder was recognised as
split_protocol              text  grouped, random or given
negative_class              text  name of the negative class
positive_class              text  name of the positive class
is_sample_data              flag  the images are rendered phantoms
split_seed                  int   seed of the split
num_near_duplicates         int   near-duplicates that were merged
num_skipped_files           int   files that could not be used
command                     text  command that started the study
commit                      text  git commit of the code
code_version                text  checksum of the code
versions                    text  JSON object: Python and packages -> version
hardware                    text  GPU and its memory, or processor and its cores
device                      text  cpu or cuda
num_workers                 int   workers of the trial
num_threads                 int   threads of each worker
schema_version              int   version of this table's columns
"""
)

HISTORY = """
study              text  name of the study
trial_id           text  name of the trial
gan_key            text  name of the GAN
stage              text  gan or classifier; the other stage's columns are null
epoch              int   epoch of the report
seconds            real  training so far, of a GAN without measuring, of a classifier with validation, seconds
images_per_second  real  real images per second of GAN training since the report before
critic_loss        real  loss of the critic, mean over the last epoch
generator_loss     real  loss of the generator, mean over the last epoch
wasserstein        real  critic's estimate of the Wasserstein distance, mean over the last epoch
penalty            real  gradient penalty, mean over the steps of the last epoch that have one
augmentation       real  share of the critic's images that are augmented, at the end of the last epoch
frechet_distance   real  Frechet distance to validation images
num_real           int   real images of the Frechet distance, all validation images
num_fake           int   synthetic images of the Frechet distance
feature_extractor  text  network whose features the Frechet distance compares
training_loss      real  classifier's loss on training images, mean over the epoch
validation_loss    real  classifier's loss on validation images
validation_auroc   real  classifier's AUROC on validation images
"""

PUBLISHED = """
table       text  image_quality (Table 1), diagnosis (Table 2 and text), benchmark (Table 3) or generators
model       text  model
method      text  method as the paper names it
data        text  data as the paper names it
metric      text  metric
value       real  figure, null where the paper gives none
value_high  real  end of a range, or the second of two contradicting figures
plus_minus  real  deviation as printed
unit        text  unit
note        text  what contradicts the figure
"""

PREDICTIONS = """
study        text  name of the study
trial_id     text  name of the trial
arm          text  what the classifier was trained on
seed         int   seed of the trial
side         text  validation, test or external
corruption   text  how the image was changed, none where it was not
strength     int   strength of the corruption, 0 (none) to 3
image_id     text  name of the image
group        text  patient or wound that the image shows
label        int   1 positive, 0 negative
probability  real  probability of the positive class
"""

GENERATOR_METRICS = """
study                       text  name of the study
gan_key                     text  name of the GAN
trial_id                    text  trial that trained the GAN
confirms                    text  searched trial that the GAN repeats, or system and cost in a benchmark
backbone                    text  blocks of the recurrent generator; null for others
lstm_depth                  int   its LSTM layers; null for others
seed                        int   seed of the GAN
feature_extractor           text  network whose features are compared
label                       int   class, null for both together
num_real                    int   held-out real images
num_fake                    int   synthetic images
frechet_distance            real  Frechet distance to held-out images
frechet_floor               real  the same for as many training images in place of the synthetic ones
kid_mean                    real  kernel distance, mean over subsets
kid_std                     real  kernel distance, standard deviation over subsets
kid_floor                   real  kid_mean of real training images
inception_score             real  inception score of the synthetic images, by feature_extractor's class probabilities
inception_score_real        real  the same of held-out images
precision                   real  share of synthetic images on the manifold of held-out images
precision_floor             real  precision of real training images
recall                      real  share of held-out images on the manifold of synthetic images
recall_floor                real  recall of real training images
density                     real  density of the synthetic images on the manifold of held-out images
density_floor               real  density of real training images
coverage                    real  share of held-out images with a synthetic neighbour
coverage_floor              real  coverage of real training images
nearest_train_ratio         real  median distance to the nearest training image over that of held-out images
nearest_train_ratio_pixels  real  the same in pixels (root mean square of 0 to 255)
copy_rate                   real  share nearer to training images than 99 % of held-out ones; by chance 0.01, of 20 0.05
copy_rate_pixels            real  the same in pixels
copied_share                real  share at most half as far from a training image as from any of another group
copied_share_real           real  copied_share of held-out images
diversity                   real  mean distance between two synthetic images of a class
diversity_real              real  mean distance between two held-out images of a class
diversity_ratio             real  diversity over diversity_real
diversity_ratio_pixels      real  the same in pixels
separation_ratio            real  median nearest-sibling distance over mean distance, synthetic over held-out images
separation_ratio_pixels     real  the same in pixels
label_agreement             real  AUROC of the wanted label by a classifier of real images, 0.5 by chance, 0 if swapped
label_agreement_real        real  label_agreement of held-out images
verdict                     text  whether the GAN copies training images, has collapsed or draws the wrong labels
"""

NEIGHBOURS = """
study                    text  name of the study
gan_key                  text  name of the GAN
feature_extractor        text  network whose features are compared
kind                     text  synthetic or held_out
number                   int   rank of a synthetic image by distance, from 0; 0 to 7 are in gans/<gan_key>/closest.png
label                    int   1 positive, 0 negative
image_id                 text  name of a held-out image
nearest_image_id         text  nearest training image in features, mirrored or not
nearest_image_id_pixels  text  nearest training image in pixels, mirrored or not
feature_distance         real  distance to it in features
pixel_distance           real  distance to the one nearest in pixels (root mean square of 0 to 255)
"""

ATTRIBUTES = """
study      text  name of the study
source     text  file or ITA estimate
kind       text  real or synthetic
gan_key    text  name of the GAN of a synthetic image
side       text  train, validation or test, for real images
image_id   text  name of a real image
attribute  text  subgroup of the image
value      real  estimated skin tone (ITA), degrees; null for a source file or an unknown tone
"""

ESTIMATES = """
study              text  name of the study
gan                text  searched trial whose GAN the arm uses
arm                text  what the classifiers were trained on
classifier_key     text  classifier settings but the arm's
split_protocol     text  grouped, random or given
training_fraction  real  share of the training groups that is used
side               text  test or external
corruption         text  how the images were changed, none where they were not
strength           int   strength of the corruption, 0 (none) to 3
subgroup           text  subgroup of the images, null for all images
metric             text  metric
value              real  mean over seeds
sd                 real  standard deviation over seeds
ci_low             real  lower end of the 95 % interval (BCa bootstrap over groups and seeds)
ci_high            real  upper end of the 95 % interval; null for ece and for too few groups
num_seeds          int   seeds
num_images         int   images
num_positive       int   positive images
num_groups         int   groups (patients or wounds)
"""

COMPARISONS = """
study              text  name of the study
phase              text  confirm, benchmark, or judge: the chosen arm on seeds that took no part in its choice
family             text  question that the difference answers
metric             text  accuracy or auroc
gan                text  searched trial whose GAN the arms use
arm_a              text  first arm
arm_b              text  second arm
classifier_key     text  classifier settings but the arm's
split_protocol     text  grouped, random or given
training_fraction  real  share of the training groups that is used
positive_fraction  real  share of those among them with a positive image that is used
side               text  test or external
value_a            real  first arm's metric
value_b            real  second arm's metric
difference         real  value_a - value_b, same images and seeds (leakage: two sets of images)
ci_low             real  lower end of the 95 % interval
ci_high            real  upper end of the 95 % interval
standard_error     real  standard error of the difference
degrees_of_freedom real  degrees of freedom of the t test; null for leakage
p_value            real  p-value of the test
p_adjusted         real  p-value adjusted by Holm within family, classifier, metric and side; judge: over both metrics
test               text  name of the test
num_seeds          int   seeds
num_images         int   images
num_positive       int   positive images
num_groups         int   groups (patients or wounds)
"""
