//! The rows. A new hyperparameter is a row here and its use; `training.proto` gets a field of the same name, or the
//! build says that it is missing, and `docs/training.md` the line that its test prints.
//!
//! - *said as*: the name in every interface, after `or` the one that OpenAI's clients use instead;
//! - *kept as*: its field of `Recipe`; an `Option` where nothing may stand for it;
//! - *what it may be*: a `Kind`, or a short name for one (`recipe.rs`); the words of a `Choice` are in `values.rs`;
//! - *where nothing is said*: `Is` a value, or `Made` by a function of `recipe.rs` that the words describe;
//! - *used by*: methods that it means something to; others refuse it.
//!
//! `each_setting!(make)` hands all rows to the macro `make`, which takes of each what it needs.

macro_rules! each_setting {
    ($make:ident) => { $make! {

//  said as                kept as        type            what it may be                     where nothing is said                           used by   help
Method {
    method              as method:        Method,         Choice(Method::NAMES),             Is(Method::Lora),                               ALL,      "What is trained";
    objective           as objective:     Objective,      Choice(Objective::NAMES),          Is(Objective::Sft),                             ALL,      "sft learns answers; dpo learns to prefer one of two answers to the same question";
    dpo_beta or beta    as dpo_beta:      f64,            ABOVE_ZERO,                        Is(0.1),                                        ALL,      "Objective dpo: how strongly leaving the reference (the base, or the adapter that is continued) counts";
    from                as from:          Option<String>, Text,                              Made("a new adapter", nothing),                 ALL,      "Continue from an adapter or a folder under the adapter root; its shape is inherited";
}
LowRank {
    rank                as rank:          usize,          Whole(1, 512),                     Is(16),                                         LOW_RANK, "Width of the update";
    alpha               as alpha:         f64,            ABOVE_ZERO,                        Made("2 × rank", alpha),                        LOW_RANK, "The update is scaled by alpha / rank";
    use_rslora          as use_rslora:    bool,           Flag,                              Is(false),                                      LOW_RANK, "Scale the update by alpha / sqrt(rank) instead";
    lora_plus_ratio     as lora_plus_ratio: f64,          ABOVE_ZERO,                        Is(1.0),                                        LOW_RANK, "Learning rate of B over that of A (LoRA+)";
    dropout             as dropout:       f64,            BELOW_ONE,                         Is(0.0),                                        LOW_RANK, "Probability of dropping an input of the update";
    bias                as bias:          Bias,           Choice(Bias::NAMES),               Is(Bias::None),                                 LOW_RANK, "Which of the base's biases learn with it";
    rank_pattern        as rank_pattern:  Patterns,       Ranks,                             Is(Patterns::default()),                        LOW_RANK, "Ranks of modules that differ: a JSON object of names or regular expressions; the first that matches counts";
    alpha_pattern       as alpha_pattern: Patterns,       Alphas,                            Is(Patterns::default()),                        LOW_RANK, "Alphas of modules that differ, alike";
    targets             as targets:       Targets,        Modules,                           Made("all-linear; k, v and down for ia3", targets), ON_LINEARS, "Modules to adapt: a list of names, a regular expression over whole paths, or all-linear";
}
Bottleneck {
    placement           as placement:     Placement,      Choice(Placement::NAMES),          Is(Placement::Double),                          BOTTLENECK, "double: after attention and feed-forward; sequential: after feed-forward; parallel: beside feed-forward";
    reduction_factor    as reduction_factor: f64,         REDUCTION,                         Is(16.0),                                       BOTTLENECK, "The model's width over the bottleneck's";
    non_linearity       as non_linearity: NonLinearity,   Choice(NonLinearity::NAMES),       Made("silu for double, else relu", non_linearity), BOTTLENECK, "Between the two products of a bottleneck";
    bottleneck_scale    as bottleneck_scale: f64,         SCALE,                             Made("4 for parallel, else 1", bottleneck_scale), BOTTLENECK, "What a bottleneck makes is multiplied by this";
}
Virtual {
    virtual_tokens      as virtual_tokens: usize,         Whole(1, 4096),                    Is(20),                                         VIRTUAL,  "Learned tokens before every prompt";
    prefix_projection   as prefix_projection: bool,       Flag,                              Is(false),                                      PREFIX,   "Learn keys and values through a projection of one embedding a token";
    prefix_hidden       as prefix_hidden: Option<usize>,  Whole(1, 1 << 20),                 Made("the width of a layer's keys", nothing),   PREFIX,   "Inner width of that projection";
    prompt_init         as prompt_init:   PromptInit,     Choice(PromptInit::NAMES),         Made("text with prompt_text, else random", prompt_init), PROMPT, "What the tokens begin as";
    prompt_text         as prompt_text:   Option<String>, Text,                              Made("none", nothing),                          PROMPT,   "Text whose embeddings they begin as, repeated or cut to their number";
}
Whole {
    train_modules       as train_modules: Option<Targets>, Modules,                         Made("every module of the layers", nothing),    MODULES,  "What to train: attention, ffn, embeddings, head, norms, names or a regular expression, several with commas";
    train_layers        as train_layers:  Option<String>, Text,                             Made("every layer", nothing),                   MODULES,  "Layers to train, such as 0-3,11";
    stages              as stages:        Option<Stages>, StageList,                        Made("one must be given", nothing),             STAGED,   "Stages in order, as JSON or a file of it: [{modules, layers, steps or epochs, lr}]; without a length a stage takes the job's";
    lr_decay_per_layer  as lr_decay_per_layer: f64,       Number(Range::above(0.0).at_most(1.0)), Is(1.0),                                    STAGED,   "Learning rate of each layer over that of the layer above it";
}
Data {
    max_seq             as max_seq:       usize,          Whole(2, 1 << 20),                 Made("2048, or what the model reads", max_seq), ALL,      "Tokens of the longest record, and of a packed row";
    balance             as balance:       Option<String>, Text,                              Made("off", nothing),                           ALL,      "Repeat rows of rarer classes until all are equally frequent; the key of the rows that names their class";
    dedup               as dedup:         bool,           Flag,                              Is(false),                                      ALL,      "Leave out rows that exactly or nearly repeat an earlier one";
    no_shuffle          as shuffle:       bool,           Off,                               Is(true),                                       ALL,      "Take the rows in the file's order";
    no_pack             as pack:          bool,           Off,                               Is(true),                                       ALL,      "One record a row instead of several packed together";
    seed                as seed:          u64,            Whole(0, u64::MAX),                Is(42),                                         ALL,      "Seeds initial weights, order, held-out rows, dropout and noise";
}
Batches {
    epochs or n_epochs  as epochs:        Option<f64>,    EPOCHS,                            Made("3, without steps", epochs),               ALL,      "Passes over the data; not with steps";
    steps               as steps:         Option<u64>,    Whole(1, 100_000_000),             Made("as epochs say", nothing),                 ALL,      "Optimizer steps; not with epochs";
    batch_size          as batch_size:    usize,          Whole(1, MAX_BATCH),               Made("micro_batch × accumulate, or 8", batch_size), ALL,      "Rows in one optimizer step";
    micro_batch         as micro_batch:   usize,          Whole(1, MAX_BATCH),               Made("batch_size / accumulate", micro_batch),   ALL,      "Rows in one forward pass";
    accumulate          as accumulate:    usize,          Whole(1, MAX_BATCH),               Made("batch_size / micro_batch", accumulate),   ALL,      "Forward passes in one optimizer step; any two of the three give the third";
    gradient_checkpointing as recompute:  Checkpointing,  Choice(Checkpointing::NAMES),      Is(Checkpointing::Off),                         ALL,      "on keeps only what enters each block and computes the block again on the way back: less memory, more time; auto does so where the job does not fit otherwise";
    memory_limit        as memory_limit:  Option<Bytes>,  ByteCount,                         Made("what the machine has", nothing),          ALL,      "Bytes that training may take beside what serves; what would take more is done in smaller forwards, or refused";
}
Schedule {
    lr                  as learning_rate: f64,            Number(Range::between(0.0, 100.0)), Is(2e-4),                                       ALL,      "Peak learning rate";
    schedule            as schedule:      Schedule,       Choice(Schedule::NAMES),           Is(Schedule::Linear),                           ALL,      "How the learning rate falls";
    warmup              as warmup:        f64,            ShareOrCount,                      Is(0.0),                                        ALL,      "Steps over which it rises first, or their share of all steps";
}
Optimizer {
    weight_decay        as weight_decay:  f64,            FROM_ZERO,                         Is(0.0),                                        ALL,      "AdamW's weight decay";
    adam_beta1          as adam_beta1:    f64,            BELOW_ONE,                         Is(0.9),                                        ALL,      "AdamW's first decay rate";
    adam_beta2          as adam_beta2:    f64,            BELOW_ONE,                         Is(0.999),                                      ALL,      "AdamW's second decay rate";
    adam_epsilon        as adam_epsilon:  f64,            ABOVE_ZERO,                        Is(1e-8),                                       ALL,      "AdamW's epsilon";
    max_grad_norm       as max_grad_norm: f64,            FROM_ZERO,                         Is(1.0),                                        ALL,      "Gradients are scaled down to this norm; 0 switches it off";
    neftune_alpha       as neftune_alpha: f64,            FROM_ZERO,                         Is(0.0),                                        ALL,      "Uniform noise on input embeddings while learning, up to alpha / sqrt(tokens × width) (NEFTune); 0 switches it off";
    on_spike            as on_spike:      OnSpike,        Choice(OnSpike::NAMES),            Is(OnSpike::Note),                              ALL,      "When a loss far exceeds those before it: note says so, rewind also goes back to the last checkpoint and passes over that batch";
}
Memory {
    precision           as precision:     Precision,      Choice(Precision::NAMES),          Is(Precision::F32),                             ALL,      "Numbers that activations and their gradients are rounded to, and held in; what learns stays in f32";
    loss_scale          as loss_scale:    Option<LossScale>, Scale,                          Made("dynamic with precision f16", loss_scale), ALL,      "Precision f16: what losses are multiplied by, so that small gradients do not become 0; dynamic halves it when they overflow";
    optimizer           as optimizer:     Optimizer,      Choice(Optimizer::NAMES),          Is(Optimizer::AdamW),                           ALL,      "adamw8bit holds its moments in 8 bits a number, with a scale for each 256: a quarter of their memory";
    offload_optimizer   as offload_optimizer: Offload,    Choice(Offload::NAMES),            Is(Offload::None),                              ALL,      "disk holds the optimizer's moments in a file of the job's folder, which takes time and changes no result; host is where they lie on a processor anyway";
}
Evaluation {
    eval_split          as eval_split:    f64,            ShareOrCount,                      Is(0.0),                                        ALL,      "Rows held out to evaluate on";
    eval_every          as eval_every:    Option<u64>,    Interval,                          Made("at the end only", nothing),               ALL,      "Steps between evaluations";
    save_every          as save_every:    Option<u64>,    Interval,                          Made("every 15 seconds", nothing),              ALL,      "Steps between checkpoints";
    early_stopping      as early_stopping: Option<u64>,   Whole(1, 10_000),                  Made("never", nothing),                         ALL,      "Evaluations without a lower held-out loss after which the job ends";
    keep                as keep:          Keep,           Choice(Keep::NAMES),               Made("last; best with early_stopping", keep),   ALL,      "What is published: the last step's weights, or those of the evaluation with the lowest held-out loss";
    gate                as gate:          Gate,           Choice(Gate::NAMES),               Is(Gate::None),                                 ALL,      "What the result must pass to be served: heldout is better than the base on held-out rows, current not worse than what the name serves now; one that does not pass is kept and not served";
    gate_margin         as gate_margin:   f64,            FROM_ZERO,                         Is(0.0),                                        ALL,      "Gate current: by how much the held-out loss may be above that of what is served";
    publish             as publish:       String,         Text,                              Is("now".to_owned()),                           ALL,      "How the result reaches its name: now moves the name to it, canary:10 lets it answer 10 % of the requests, canary:10,min_requests=50,promote_after=12h also decides about it, manual only keeps it";
}

    } };
}

pub(crate) use each_setting;
