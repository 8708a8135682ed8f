"""128 px on LFW and Pins: the shipped model. Identity from the ID embedding, four references, the input's expression.

Data     idfsr prepare --photos PHOTOS --splits SPLITS --out data/faces
         (LFW's train split and Pins' people in train, LFW's val split in val; people of both under one name)
Train    python train.py configs/lfw128.py          (resumes by itself when run again)
Judge    python evaluate.py configs/lfw128.py

The shipped weights are those of `idfsr_jax/assets/lfw128`, and a run of this config goes on from them:

1. 288,000 images of LFW at 64 and then 128 px of an earlier network of one pasted reference and dlib's recogniser
   alone; 19,200 more with MobileFaceNet's loss beside dlib's (SHA-256 of the denoiser's two files e98f5eac... and
   56034966...).
2. Grown to this network: all that is new (the second recogniser's embedding, references that are fused place by place
   and attended to, heat maps of the landmarks, what each reference's own vector says, a thin head at full resolution)
   entered through kernels that were zero. 341 steps of 12 of this config at the learning rate 1e-4 with 50 of warm-up,
   averaged over 2,000 images; most of phase 1's and all of phase 2's images on two CPU cores, some nine hours in all.

LandmarkNet is told the person's shape: on val its mouth errs by 0.039 eye distances at 16 px (0.042 without), and its
eyes by 0.020 (0.021). It was trained on LFW and Pins by `training/landmarks.py`.

What its errors cost, not fitted, identity by the judge below (`classical` of the protocol: blur, noise, JPEG):

    landmarks                    16x      8x       16x classical   8x classical
    LandmarkNet's                0.612    0.631    0.556           0.561
    LandmarkNet's of the clean                     0.586           0.600
    the truth's own              0.624    0.643    0.601           0.614

3,800 steps more of 32 crops, most of them spoilt, took its error at `classical` from 0.094 to 0.078 eye distances (8
px) and from 0.071 to 0.057 (16 px), and of clean crops of 16 px from 0.039 to 0.037, but identity to 0.600, 0.629,
0.564 and 0.581: not kept, as the gain there is hardly larger than the loss here. A denoiser that is trained with it may
gain more.

Two thirds of a batch are states of the sampler's own two steps, judged as pictures; the rest is noised photographs.

What was tried, by val's identity at 16x (MobileFaceNet-CASIA, which is in no loss; 53 pictures, not fitted, averaged
weights), the face's PSNR and LPIPS:

    the start, grown                                                     0.603   19.62 dB   0.194
    2e-4 after 60 steps of warm-up, 131 steps                            0.541   18.68      0.203
    1e-4 after 200, what is new five times as fast, 200 steps, as it is  0.536   18.45      0.204
        with the start's weights in place of those taken over (START)    0.603   19.52      0.194
    START, 3e-5, what is new ten times as fast, 200 steps                0.591   19.33      0.196
        400 steps                                                        0.572   18.98      0.199
    START, 1e-4, pixels 1.0 in place of 0.1, LPIPS 0.4 in place of 0.2, told whom references show, 150 steps
                                                                         0.597   19.63      0.195
        300 steps                                                        0.579   19.57      0.198
    the same with other people's references in 5% of the examples, no longer in 27%, and LPIPS 0.8, 150 steps
                                                                         0.610   19.74      0.193
        341 steps                                                        0.608   19.80      0.194
        the nearest reference alone                                      0.609   19.80      0.194
        the nearest by the truth's own points, which nobody has          0.619   19.89      0.189
        of the five photographs only the three likest their mean         0.618   19.82      0.193
    after 341 steps, with the LandmarkNet of 3,800 steps more, 5e-5, MobileFaceNet's loss 0.8 in place of 0.5, averaged
    over 1,500 images, 411 steps (0.600 before them)                 0.590   19.67      0.195

At use a recogniser pulls the last state of the sampler towards the embedding (`method/guidance.py`). Of the shipped
weights, every other picture of val (27), not fitted, 16x; the judge as above, dlib's cosine beside it, which guides
nothing here:

    what is moved by the gradient              steps, length      identity   dlib    PSNR     LPIPS
    nothing                                                       0.603      0.697   20.01    0.193
    the picture, its colours too               4 of 0.025         0.618      0.691   19.80    0.199
    the picture, grey                          6 of 0.01          0.645      0.708   19.87    0.192
    e and its tokens, for this picture         6 of Adam, 0.03    0.613      0.682   19.80    0.195
    the last state                             6 of Adam, 0.03    0.657      0.719   19.87    0.198
                                               6 of 0.03          0.656      0.714   19.77    0.197
                                               3 of 0.06          0.633      0.701   19.46    0.201
    the last state, within the mask (kept)     6 of 0.02          0.657      0.717   19.88    0.193
                                               10 of 0.02         0.658      0.720   19.75    0.195
        by the picture's grey alone            6 of 0.02          0.654      0.714   19.86    0.194

In this table the recogniser looked at the face moved by chance at each step, as in training; what was kept looks at it
as it lies. That on all 53: identity 0.612 without, 0.656 with; dlib 0.713, 0.728; PSNR 19.80, 19.71.

Agreement with the input (`method/sample.py`), on the same pictures, with guidance. "Seen": guidance looks at what comes
of it. Trust is told by a net that was a trial of the one in `method/cleaning.py`, and cleaned nothing:

    what is held, how strongly        16x                       8x                        16x, camera-like
    nothing                           0.656  19.89 dB  0.194    0.667  21.11 dB  0.148    0.645  18.62 dB  0.251
    the result, 1, not seen           0.625  20.71     0.191
    both estimates, 1, not seen       0.632  20.79     0.189
    the first estimate, 1, seen       0.653  20.27     0.191
    both, 1, seen                     0.647  20.76     0.189    0.660  23.07     0.139    0.577  18.05     0.275
          0.7                                                   0.683  22.95     0.139    0.603  18.35     0.266
          0.5                         0.662  20.63     0.189    0.676  22.64     0.140    0.621  18.52     0.261
          0.3                                                   0.676  22.08     0.143    0.633  18.65     0.256
          0.7 times trust (kept)      0.655  20.59     0.189    0.678  22.77     0.140    0.642  18.69     0.252
          0.5 times trust             0.659  20.46     0.190    0.677  22.39     0.141
    (identity, PSNR of the face, LPIPS)

The net that cleans inputs (`method/cleaning.py`), by `python -m tools.input_cleaner` on a set of 2,609 photographs, one
of each of 1,900 of LFW's train people and 7 of each of Pins; 6,000 steps, 38 minutes on two cores. All of val, not
fitted, as above; trust is its own:

    what is cleaned                    8x, camera                16x, camera
    nothing                            0.630  20.01 dB  0.225    0.632  18.36 dB  0.254
    all, by a trial of 1,400 steps     0.649  20.23     0.205
    all, by the net (kept)             0.655  20.52     0.194    0.644  18.88     0.234

                                       8x                        16x
    nothing                            0.685  22.46 dB  0.138    0.660  20.36 dB  0.189
    all, by the net (kept)             0.683  22.63     0.138    0.658  20.44     0.189

The finish (`method/finish.py`), on the sampler's results of 1,600 photographs, half of LFW's train people who have five
and half of Pins, n from 5 to 40 px, half of the inputs clean. 400 steps of 10 with LPIPS 1 and the guide's cosine 0.15,
ended while the rate was high, and 800 more with 2 and 0.3; an hour on two cores, after twenty minutes for the results.
These were trials; `tools/finish.py` does the same in one run of 1,200 steps with the second weights, towards the
guide's vector of the photograph as the data set holds it, and was not run whole. All of val, not fitted, identity, PSNR
of the face and LPIPS, inputs clean:

    share of it in the result          16x                       8x
    none                               0.658  20.44 dB  0.189    0.683  22.62 dB  0.138
    all, after 400 steps               0.659  21.20     0.188    0.687  23.84     0.135
    all, after 800 more                0.654  21.33     0.180    0.672  23.91     0.128
    three quarters                     0.667  21.18     0.180    0.692  23.72     0.128
    half                               0.671  20.98     0.182    0.698  23.43     0.130
    half in the face, all elsewhere    0.671  20.99     0.181    0.696  23.43     0.130

To be kept, an hour more had to lower LPIPS at both scales and to cost no more than 0.003 of identity and no PSNR. Some
1,510 more steps, on 528 results of 700 other people of LFW as well, with 0.5 of the rate, LPIPS 3, the cosine 0.5, and
the half that comes out in the loss: then the network takes back what guidance put into the other half. Three quarters
of the examples told it the ID embedding, which brought nothing and is out again. The mean of the weights before and
after those steps passes (not fitted; of identity it costs 0.004 fitted at 16x, 0.005 at 32x and by `camera`):

    half, in the loss as well          0.627  21.24     0.176    0.659  23.74     0.125
    half, not told the embedding       0.629  21.29     0.177    0.657  23.77     0.125
    a quarter                          0.665  21.00     0.178    0.693  23.43     0.126
    mean of weights, half              0.663  21.25     0.178    0.690  23.76     0.127
    mean of weights, two fifths (kept) 0.669  21.14     0.179    0.697  23.61     0.127
    mean of weights, three tenths      0.671  20.99     0.181    0.698  23.41     0.129

Several recognisers. MobileFaceNet alone guided in all of the above. Beside it were asked two that others trained
(NOTICE), each as much, about the mean of the photographs by each; and one of insightface's that was left out for its
licence ("y1"). All of val, not fitted, as shipped but for that; identity with the interval of what it gains, dlib's
cosine, PSNR, LPIPS, and the error of the mouth's points in the median, in eye distances:

    16x  6 steps, as before                    0.669                     0.739  21.13 dB  0.179  0.051
         and y1                                0.679  0.001 to 0.020     0.746  21.16     0.179  0.057
         and y1 and mobilefacenet-relu6        0.686  0.008 to 0.026     0.748  21.17     0.178  0.055
             10 steps                          0.689  0.011 to 0.031     0.751  21.14     0.178  0.056
         and mobilefacenet-relu6 and mobileface
                                               0.686  0.006 to 0.027     0.754  21.16     0.178  0.054
             10 steps                          0.692  0.014 to 0.033     0.758  21.12     0.177  0.054
             8 steps, a fifth on the lips      0.689  0.011 to 0.030     0.757  21.15     0.178  0.057
    8x   6 steps, as before                    0.696                     0.756  23.62     0.127  0.041
         and mobilefacenet-relu6 and mobileface
                                               0.719  0.014 to 0.034     0.772  23.64     0.126  0.043

Kept: the last of 16x, with steps whose length does not grow by what the lips are spared; in the product it has
0.692 at 16x and 0.724 at 8x. Of six people of the London Set, in docs/faces.jpg, no mouth is askew any more (two were).
The network was given the new parts of e through kernels that are zero; it has not been trained since.

Guidance and losses take the centre of MobileFaceNet's descriptors for that of what they see, and it is twice that: the
stored ones are of a chip and its mirror image added. With the view doubled in guidance identity was 0.005 lower at 16x
(0.001 to 0.010) and 0.002 higher at 8x (-0.001 to 0.005), all else as it ships; left as the network was trained.

Wide inputs. All above was chosen at 8 and 16 px, and at 64 px results were worse than the input enlarged. Identity,
PSNR of the face and LPIPS of every fourth picture of val (14), not fitted; "before" is 0.7 times a trust whose own
error is 4 levels at all widths, with guidance at all widths (but as now for `moderate`). Now past 16 px that error
grows as the width, 0.7 goes towards 1, and guidance fades past 32 px as the result is held. With the error growing as
the power 1.5 or 2 of the width what is spoilt is held too much (identity 0.676 and 0.655 in the third column):

                      64 px, camera            64 px, clean             32 px, camera            moderate
    the input         0.711  27.93 dB  0.251   0.972  36.37 dB  0.047   0.236  24.15 dB  0.488   0.848  30.74 dB  0.144
    before            0.709  24.31     0.124                            0.689  22.86     0.156   0.762  26.30     0.095
    now               0.787  28.68     0.125   0.973  34.91     0.023   0.692  23.88     0.157   0.874  30.79     0.079

Before, on every second picture, 64 px, clean: 0.875, 29.50 dB, 0.042, where the input has 0.974, 35.91 dB, 0.045.

Lost, all at 16x on val, not fitted (0.669, 21.13 dB, 0.179): the mean of what is sampled of the input and of its mirror
image, twice the work, 0.672 (interval of the difference -0.004 to 0.010), 21.33 dB, 0.180; of two noises 0.673, 21.19,
0.178; LandmarkNet's mean over both 0.671, 21.18, 0.179; guidance by both 0.668; with its gradient capped at twice its
mean square 0.664, smoothed 0.662; colours outside the face kept within those of the nine LR pixels around, and 4 levels
and a tenth of their range more, 0.669 with LPIPS 0.002 higher.

Guidance at the mouth, by one recogniser. Guided mouths come out askew: of eight people of the London Set, restored at
16x and 8x from one neutral photograph, clearly in two; without guidance in none. How much of the gradient is left on
the lips, val, not fitted: identity, PSNR, LPIPS, and how far the mouth's points lie from the truth's in the median, in
eye distances:

    left                           16x                                  8x
    all (kept)                     0.669  21.13 dB  0.179  0.051        0.696  23.62 dB  0.127  0.041
    a fifth                        0.667  21.16     0.179  0.050        0.697  23.59     0.128  0.039
        steps no longer elsewhere  0.661  21.15     0.179  0.051
    nothing                        0.661  21.15     0.179  0.048        0.698  23.57     0.128  0.039

The mouths are straight then, but steps of the same length move the rest further: of the eight one, and of six fitted
another, got a smeared nose. Without that (third row) all were clean, and identity 0.008 lower (0.002 to 0.015): with
one recogniser that was not worth it, with three and more steps it is ("Several recognisers").

Also lost: 200 more steps of the finish with the difference of fine detail where the truth is flat (2) in its loss, to
be kept if that detail lost 30% of its excess outside the face: it lost 6% (3.87 levels root mean square, of 4.03;
truth 1.55), and identity 0.004. Smoothing outside the face what is flat in the input: 4.03 to 3.94, LPIPS the same, no
difference to the eye.

The mouth told further than LandmarkNet sees it, whose estimates lie nearer to the person's mean than the truth does (at
16 px the truth's movement is 1.13 times theirs, at 8 px 1.26, root mean square; in least squares 0.96 and 0.98), to be
kept if the expression came out clearly more often and identity fell by no more than 0.003. The 32 photographs of val
whose mouth differs by 0.1 eye distances or more from the nearest of up to five others; 16x, not fitted: share with the
truth's expression, error of the mouth, identity, dlib's cosine:

    as LandmarkNet sees it                              0.25  0.090  0.635  0.696
    1.5 times as far from the mean                      0.31  0.083  0.622  0.682
    twice, but for guidance and the choice of references
                                                        0.34  0.080  0.619  0.674
    the truth's own points, which nobody has            0.41  0.074  0.625  0.684
        without guidance (0.25, 0.089 with LandmarkNet's)
                                                        0.41  0.072  0.524  0.636
        the nearest photograph moved and pasted         0.34  0.079  0.508  0.620

So it is not LandmarkNet alone that keeps the expression: a photograph whose lips are bent does not show it either.

Not kept, without it at 16x: temperature 0 (0.655, 20.49 dB, 0.194); guidance by both recognisers (0.663, 20.50, 0.189),
and by the face and its mirror image (0.657, 20.42, 0.189).

Fitting, with guidance and agreement, of every other person of val (20 people), five photographs, identity at 16x and
8x:

    how e moves in 12 steps of 4 examples (inputs not cleaned)      16x       8x
    not at all                                                      0.668     0.694
    Adam at 0.02, and what is added to its tokens as well           0.672     0.688
    each of two halves of e by steps of one length, 0.03            0.676     0.698
        twice as far along the same line                            0.670     0.693

Adam moved e by 0.32 and 0.38, and its direction to a cosine of 0.95 and 0.94 with where it began; most of that is
noise. On all 53 pictures, half of Adam's way gave 0.663 and 0.679, all of it 0.660 and 0.672, nothing 0.660 and 0.685.
What was added to the tokens gained nothing (0.662 and 0.672 without it) and is no longer fitted. With inputs cleaned,
all 53 pictures:

    steps of 0.03, examples of each           what has a length         16x       8x        seconds, once compiled
    none                                                                0.658     0.683
    12 of 4                                   each half of e            0.660     0.679     16
    12 of 4                                   each recogniser's part    0.663     0.679     16
    12 of 2                                   each recogniser's part    0.662     0.679     8
    8 of 4 (kept)                             each recogniser's part    0.664     0.681     11

Why, by gradients at START under Adam's scaling, 48 examples of each kind (what a step along them does to the loss by
MobileFaceNet of val people who have their own references, times 1,000 after 100 steps of 1e-4): own references, LFW
-97 to -169, Pins -60; none -64; somebody else's +188. Degraded inputs (-175) and other light (-141) cost nothing of
clean ones (-167, these on people of the train split).
"""

from idfsr_jax.config import Config, DataConfig, EvaluateConfig, ModelConfig, SampleConfig, TrainConfig

config = Config(
    name="lfw128",
    data=DataConfig(dataset="data/faces", size=128),
    model=ModelConfig(
        patch=4,
        channels=(64, 128, 192),
        blocks=(1, 2, 2),
        recognisers=("dlib", "mobilefacenet", "mobilefacenet-relu6", "mobileface"),
        references=4,
        prior_detail_std=0.08,
    ),
    train=TrainConfig(
        out="runs/lfw128",
        start_from="idfsr_jax/assets/lfw128",
        seed=7,
        steps=3_000,
        batch=12,
        learning_rate=1e-4,
        warmup_steps=50,
        ema_halflife_images=2_000.0,
        rollout_fraction=2 / 3,
        pixel_loss=1.0,
        perceptual_loss=0.8,
        identity_losses=(0.1, 0.5, 0.0, 0.0),
        identity_smoothing=4,
        identity_movement=0.03,
        contrastive_loss=0.02,
        checkpoint_every=50,
        log_every=10,
        samples_every=250,
        keep_checkpoints=2,
    ),
    sample=SampleConfig(steps=2, temperature=0.3, guidance=8, consistency=0.7),
    evaluate=EvaluateConfig(protocol="configs/protocols/lfw_val.json"),
)
