# Names of what trainings read and make, each from its row (scripts/grrm/catalogue/trainings.py). Look-ups only.

# Trainings of the translation model by GRPO, each with its section reward: the experiment's own, and one for
# every other kind that is compared.
GRPO_RUNS = grpo_runs(config)
# Kind of the prompt that translations answer, if it is another than the paper's.
FORM = translation_form(config)
# What the translation model is asked to score translations, if it learns that, too.
JUDGING = config["mt_sft"].get("judging")
# Those whose judge is asked about more of a row than its texts: the rows carry it.
CARRYING = carrying_rewards(config)


# Kind of reward, or its name in reward_comparison -> training with it, for those whose models are compared with the model before.
_own_kind = (
    {config["mt_grpo"]["reward"]["kind"]: "mt_grpo"}
    if "mt_grpo" in TRAINED and "mt_sft" in COMPARISONS["translation"]
    else {}
)
_compared = compared_runs(config) if config["reward_comparison"] else _own_kind
COMPARED_KINDS = {
    name: run
    for run in GRPO_RUNS
    for name, compared in _compared.items()
    if compared == run
}


def prepared(name):
    return f"{RESULTS}/{training_of(name).data}"


def validation_rows(name):
    return f"{RESULTS}/{training_of(name).validation}"


def start_of(name):
    """The model that a training starts from: the one that its key start_from names, or the one made before it."""
    training = training_of(name)
    return model(training.taken if training.taken in TAKEN else training.start)


def stage_settings(name):
    return settings(*training_of(name).section.split("."))


def stage_params(name):
    """What a training's configuration is rendered from, less what all of them are."""
    return {
        "settings": stage_settings(name),
        "model": start_of(name),
        "data": prepared(name),
        "checkpoints": checkpoints(name),
    }


# Gradients were clipped by nothing while verl read no key of those rendered. It is no option of a program: with it
# Snakemake renders, and trains, the RL stages of such results anew.
CLIPPED = {} if FORK else {"clipped_by": "actor.optim.clip_grad"}


def rendered(name):
    return {"config": f"{RESULTS}/configs/{name}.yaml"}


def rendered_sft(name):
    return rendered(name) | {
        "dataset_info": f"{RESULTS}/configs/{name}/dataset_info.json"
    }


def trained(name):
    return {"model": directory(model(name)), "curve": curve(name)}


def judged(name):
    """What is kept of a training whose rollouts a judge has scored."""
    return trained(name) | {
        "judgements": f"{RESULTS}/curves/{name}.judgements.jsonl",
        "judge_calls": f"{RESULTS}/curves/{name}.judge_calls.json",
    }


def sft_input(name):
    return rendered_sft(name) | {
        "data": prepared(name),
        "model": start_of(name),
        "environment": environment(SFT),
    }


def run_reward(run):
    """The section reward of a training by GRPO; for a run of the user's own that of the experiment."""
    return GRPO_RUNS.get(run, config["mt_grpo"]["reward"])


def scoring_model(wildcards):
    """Folder of the model or checkpoint that scores the rollouts of a run; None if none does."""
    run = wildcards.run
    name = scoring_model_of(run_reward(run), judge_taken_for(run, config))
    return name and model(name)


def scoring_python(wildcards):
    """Interpreter of the environment of the checkpoint that scores, if it is another than verl's."""
    return checkpoint_python(run_reward(wildcards.run)["kind"])


def checkpoint_python(kind):
    name = REWARD_ENTRIES[kind].environment
    if not name:
        return None
    if deployed_by() != "uv":
        raise WorkflowError(
            f"reward kind '{kind}' needs two environments in one rule, which conda and apptainer do not give: "
            "run without --sdm"
        )
    return python_of(name)


def scoring_environments(wildcards):
    """Input of a run whose checkpoints score in other environments than verl's."""
    names = {
        REWARD_ENTRIES[piece["kind"]].environment
        for piece in pieces_of(run_reward(wildcards.run)).values()
    }
    return [record for name in sorted(names - {""}) for record in environment(name)]


def judge_prompt(wildcards):
    return translation_prompt_of(run_reward(wildcards.run), prompt("ranking"))


def part_prompts(reward):
    """Parts of a mixture -> their prompts."""
    parts = pieces_of(reward) if "parts" in reward else {}
    found = {
        name: translation_prompt_of(parts[name], prompt("ranking")) for name in parts
    }
    return {name: file for name, file in found.items() if file is not None}


def part_options(wildcards):
    """Options of render_rl for the parts of a mixture; nothing for other kinds."""
    reward = run_reward(wildcards.run)
    checkpoints = part_checkpoints_of(reward, judge_taken_for(wildcards.run, config))
    pythons = {
        name: checkpoint_python(pieces_of(reward)[name]["kind"]) for name in checkpoints
    }
    given = {
        "--part-prompt": part_prompts(reward),
        "--part-model": {name: model(stage) for name, stage in checkpoints.items()},
        "--part-python": {name: python for name, python in pythons.items() if python},
    }
    return [
        word for flag, files in given.items() for word in option(flag, named(files))
    ]


def scoring_models(wildcards):
    """Folders of all models and checkpoints that score the rollouts of a run."""
    run = wildcards.run
    parts = part_checkpoints_of(run_reward(run), judge_taken_for(run, config))
    return [*filter(None, [scoring_model(wildcards)]), *map(model, parts.values())]


def scoring_files(wildcards):
    """Files of what judges are asked, and of functions that score."""
    reward = run_reward(wildcards.run)
    prompts = [judge_prompt(wildcards), *part_prompts(reward).values()]
    files = [prompt_file(file) for file in prompts if file is not None]
    return files + function_files_of(reward)


def devices():
    """Options of train_sft: machines of a job, and accelerators of each."""
    hardware = config["hardware"]
    return flags({"--nodes": hardware["nodes"], "--devices": hardware["gpus_per_node"]})


def deepspeed(name):
    """Input of a stage's configuration: that of DeepSpeed, if it is used."""
    return value_of(config, training_of(name).section)["deepspeed"] or []
