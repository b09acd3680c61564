# Judges: SFT (LLaMA-Factory), GRPO with verified scores and preferences (verl), Bradley-Terry (TRL).

if JUDGES:

    wildcard_constraints:
        kind="|".join(JUDGE_KINDS),

    if JUDGES["data"]["source"] == "toy":

        rule make_judge_world:
            input:
                pointwise=JUDGES["prompts"]["pointwise"],
                pairwise=JUDGES["prompts"]["pairwise"],
            output:
                [
                    judge_data(name.removeprefix("judge_"))
                    for name in JUDGES["data"]["toy"]
                ],
            log:
                f"{LOGS}/make_judge_world.log",
            benchmark:
                f"{BENCHMARKS}/make_judge_world.tsv"
            conda:
                "../envs/driver.yaml"
            resources:
                **resources("make_judge_world"),
            params:
                folder=lambda wildcards, output: str(Path(output[0]).parent),
                rows=settings("judges", "data", "toy"),
                seed=config["seed"],
            message:
                "Making toy data for judges"
            shell:
                "python scripts/make_judge_world.py --pointwise-prompt {input.pointwise} "
                "--pairwise-prompt {input.pairwise} --rows {params.rows:q} --seed {params.seed} "
                "--output-folder {params.folder} > {log} 2>&1"

        rule make_judge_base:
            input:
                sft=judge_data("sft"),
                preferences=judge_data("bradley_terry_train"),
                environment=environment("train"),
            output:
                model=directory(model("judge_base")),
            log:
                f"{LOGS}/make_judge_base.log",
            benchmark:
                f"{BENCHMARKS}/make_judge_base.tsv"
            conda:
                "../envs/train.yaml"
            resources:
                **resources("make_judge_base"),
            params:
                python=python_of("train"),
                size=" ".join(
                    str(number)
                    for number in (
                        JUDGES["base_model"]["hidden_size"],
                        JUDGES["base_model"]["layers"],
                        JUDGES["base_model"]["heads"],
                        2 * JUDGES["base_model"]["hidden_size"],
                    )
                ),
                seed=config["seed"],
            message:
                "Making the tokenizer and the tiny base model of the judges"
            shell:
                "{params.python} scripts/make_judge_base.py --sft {input.sft} --preferences {input.preferences} "
                "--size {params.size} --seed {params.seed} --output {output.model} > {log} 2>&1"

    else:

        rule split_judge_data:
            input:
                record=lambda wildcards: download_record(
                    judge_sources(wildcards.kind)[0]
                ),
            output:
                train=judge_data("{kind}_train"),
                test=judge_data("{kind}_test"),
            log:
                f"{LOGS}/split_judge_data_{{kind}}.log",
            conda:
                "../envs/driver.yaml"
            resources:
                **resources("split_judge_data"),
            params:
                rows=lambda wildcards: judge_sources(wildcards.kind)[1],
                share=JUDGES["data"]["test_share"],
                bad_rows=JUDGES["data"]["bad_rows"],
                seed=config["seed"],
            message:
                "Splitting the published rows of kind {wildcards.kind}"
            shell:
                "python scripts/split_judge_data.py --kind {wildcards.kind} --input {params.rows} "
                "--test-share {params.share} --seed {params.seed} --bad-rows {params.bad_rows} "
                "--train {output.train} --test {output.test} > {log} 2>&1"

    rule prepare_judge_sft:
        input:
            rows=(
                judge_data("sft")
                if JUDGES["data"]["source"] == "toy"
                else download_record(judge_sources("sft")[0])
            ),
        output:
            rows=f"{RESULTS}/prepared/judge_sft.jsonl",
        log:
            f"{LOGS}/prepare_judge_sft.log",
        conda:
            "../envs/driver.yaml"
        resources:
            **resources("prepare_judge_sft"),
        params:
            rows=lambda wildcards, input: (
                input.rows
                if JUDGES["data"]["source"] == "toy"
                else judge_sources("sft")[1]
            ),
            bad_rows=JUDGES["data"]["bad_rows"],
        message:
            "Preparing the conversations of the judges' SFT"
        shell:
            "python scripts/prepare_judge_sft.py --input {params.rows} --bad-rows {params.bad_rows} "
            "--output {output.rows} > {log} 2>&1"

    rule render_judge_sft:
        input:
            deepspeed=JUDGES["sft"]["deepspeed"] or [],
        output:
            config=f"{RESULTS}/configs/judge_sft.yaml",
            dataset_info=f"{RESULTS}/configs/judge_sft/dataset_info.json",
        log:
            f"{LOGS}/render_judge_sft.log",
        conda:
            "../envs/driver.yaml"
        resources:
            **resources("render_judge_sft"),
        params:
            settings=settings("judges", "sft"),
            hardware=settings("hardware"),
            deepspeed=lambda wildcards, input: option("--deepspeed", input.deepspeed),
            model=judge_start("sft"),
            data=f"{RESULTS}/prepared/judge_sft.jsonl",
            checkpoints=checkpoints("judge_sft"),
            seed=config["seed"],
        message:
            "Rendering {output.config}"
        shell:
            "python scripts/render_sft.py --settings {params.settings:q} --hardware {params.hardware:q} "
            "{params.deepspeed} --model {params.model} --data {params.data} "
            "--checkpoints {params.checkpoints} --seed {params.seed} "
            "--output {output.config} --dataset-info {output.dataset_info} > {log} 2>&1"

    rule write_judge_card:
        input:
            [JUDGES["prompts"]["pointwise"], JUDGES["prompts"]["pairwise"]],
        output:
            card=f"{RESULTS}/configs/{{judge}}/judge.json",
        log:
            f"{LOGS}/write_judge_card_{{judge}}.log",
        wildcard_constraints:
            judge="judge_(sft|pointwise|pairwise|bradley_terry)",
        conda:
            "../envs/driver.yaml"
        resources:
            **resources("write_judge_card"),
        params:
            options=lambda wildcards: judge_card_options(wildcards.judge),
        message:
            "Writing down what {wildcards.judge} is trained to answer"
        shell:
            "python scripts/write_judge_card.py --stage {wildcards.judge} {params.options} "
            "--output {output.card} > {log} 2>&1"

    rule train_judge_sft:
        input:
            config=rules.render_judge_sft.output.config,
            dataset_info=rules.render_judge_sft.output.dataset_info,
            data=rules.prepare_judge_sft.output.rows,
            card=f"{RESULTS}/configs/judge_sft/judge.json",
            model=judge_start("sft"),
            environment=environment(SFT),
        output:
            model=directory(model("judge_sft")),
            curve=curve("judge_sft"),
        log:
            f"{LOGS}/train_judge_sft.log",
        benchmark:
            f"{BENCHMARKS}/train_judge_sft.tsv"
        priority: 1
        conda:
            f"../envs/{SFT}.yaml"
        container:
            image(SFT)
        threads: threads("train_judge_sft")
        resources:
            **resources("train_judge_sft"),
        params:
            python=python_of(SFT),
            hardware=f"--nodes {config['hardware']['nodes']} --devices {config['hardware']['gpus_per_node']}",
        message:
            "Finetuning {output.model} with LLaMA-Factory (progress: {log})"
        shell:
            "python scripts/train_sft.py --config {input.config} --data {input.data} --python {params.python} "
            "{params.hardware} --card {input.card} --model {output.model} --curve {output.curve} > {log} 2>&1"

    rule prepare_judge_rl:
        input:
            rows=judge_data("{kind}_{split}"),
            prompt=lambda wildcards: JUDGES["prompts"][wildcards.kind],
        output:
            rows=f"{RESULTS}/prepared/judge_{{kind}}_{{split}}.parquet",
        log:
            f"{LOGS}/prepare_judge_{{kind}}_{{split}}.log",
        wildcard_constraints:
            kind="pointwise|pairwise",
            split="train|test",
        conda:
            "../envs/driver.yaml"
        resources:
            **resources("prepare_judge_rl"),
        params:
            orders=lambda wildcards: (
                "--both-orders"
                if wildcards.kind == "pairwise" and JUDGES["pairwise"]["both_orders"]
                else ""
            ),
            seed=config["seed"],
        message:
            "Preparing the {wildcards.split} rows of the {wildcards.kind} judge"
        shell:
            "python scripts/prepare_judge_rl.py --kind {wildcards.kind} --input {input.rows} "
            "--prompt {input.prompt} {params.orders} --split {wildcards.split} --seed {params.seed} "
            "--output {output.rows} > {log} 2>&1"

    rule render_judge_rl:
        input:
            prompt=lambda wildcards: JUDGES["prompts"][wildcards.kind],
        output:
            config=f"{RESULTS}/configs/judge_{{kind}}.yaml",
        log:
            f"{LOGS}/render_judge_{{kind}}.log",
        wildcard_constraints:
            kind="pointwise|pairwise",
        conda:
            "../envs/driver.yaml"
        resources:
            **resources("render_judge_rl"),
        params:
            settings=lambda wildcards: settings("judges", wildcards.kind),
            hardware=settings("hardware"),
            model=lambda wildcards: judge_start(wildcards.kind),
            data=lambda wildcards: f"{RESULTS}/prepared/judge_{wildcards.kind}_train.parquet",
            validation=lambda wildcards: option(
                "--validation-data", judge_validation(wildcards.kind)
            ),
            checkpoints=lambda wildcards: checkpoints(f"judge_{wildcards.kind}"),
            seed=config["seed"],
        message:
            "Rendering {output.config}"
        shell:
            "python scripts/render_judge_rl.py --kind {wildcards.kind} --settings {params.settings:q} "
            "--hardware {params.hardware:q} --prompt {input.prompt} --model {params.model} --data {params.data} "
            "{params.validation} --checkpoints {params.checkpoints} --seed {params.seed} "
            "--output {output.config} > {log} 2>&1"

    rule train_judge_rl:
        input:
            config=rules.render_judge_rl.output.config,
            data=f"{RESULTS}/prepared/judge_{{kind}}_train.parquet",
            validation=lambda wildcards: judge_validation(wildcards.kind),
            card=f"{RESULTS}/configs/judge_{{kind}}/judge.json",
            model=lambda wildcards: judge_start(wildcards.kind),
            environment=rl_environment(),
        output:
            model=directory(model("judge_{kind}")),
            curve=curve("judge_{kind}"),
        log:
            f"{LOGS}/train_judge_{{kind}}.log",
        benchmark:
            f"{BENCHMARKS}/train_judge_{{kind}}.tsv"
        wildcard_constraints:
            kind="pointwise|pairwise",
        conda:
            f"../envs/{RL}.yaml"
        container:
            image(RL)
        threads: threads("train_judge_rl")
        resources:
            **resources("train_judge_rl"),
        params:
            python=python_of(RL),
        message:
            "Training {output.model} with verl against what is annotated (progress: {log})"
        shell:
            "python scripts/train_rl.py --config {input.config} --data {input.data} --python {params.python} "
            "--ray-from-environment --card {input.card} --model {output.model} --curve {output.curve} > {log} 2>&1"

    rule render_bradley_terry:
        input:
            deepspeed=JUDGES["bradley_terry"]["deepspeed"] or [],
        output:
            config=f"{RESULTS}/configs/judge_bradley_terry.yaml",
        log:
            f"{LOGS}/render_judge_bradley_terry.log",
        conda:
            "../envs/driver.yaml"
        resources:
            **resources("render_bradley_terry"),
        params:
            settings=settings("judges", "bradley_terry"),
            hardware=settings("hardware"),
            deepspeed=lambda wildcards, input: option("--deepspeed", input.deepspeed),
            model=judge_start("bradley_terry"),
            data=judge_data("bradley_terry_train"),
            checkpoints=checkpoints("judge_bradley_terry"),
            seed=config["seed"],
        message:
            "Rendering {output.config}"
        shell:
            "python scripts/render_bradley_terry.py --settings {params.settings:q} "
            "--hardware {params.hardware:q} {params.deepspeed} --model {params.model} --data {params.data} "
            "--checkpoints {params.checkpoints} --seed {params.seed} --output {output.config} > {log} 2>&1"

    rule train_bradley_terry:
        input:
            config=rules.render_bradley_terry.output.config,
            data=judge_data("bradley_terry_train"),
            card=f"{RESULTS}/configs/judge_bradley_terry/judge.json",
            model=judge_start("bradley_terry"),
            environment=environment(SFT),
        output:
            model=directory(model("judge_bradley_terry")),
            curve=curve("judge_bradley_terry"),
        log:
            f"{LOGS}/train_judge_bradley_terry.log",
        benchmark:
            f"{BENCHMARKS}/train_judge_bradley_terry.tsv"
        conda:
            f"../envs/{SFT}.yaml"
        container:
            image(SFT)
        threads: threads("train_bradley_terry")
        resources:
            **resources("train_bradley_terry"),
        params:
            python=python_of(SFT),
        message:
            "Training {output.model} with TRL (progress: {log})"
        shell:
            "python scripts/train_bradley_terry.py --config {input.config} --data {input.data} "
            "--python {params.python} --card {input.card} --model {output.model} --curve {output.curve} "
            "> {log} 2>&1"

    rule ask_judge:
        input:
            model=model("{judge}"),
            # Before its training a judge has no card: it is asked what the trained one is.
            card=f"{RESULTS}/configs/judge_{{kind}}/judge.json",
            rows=judge_data("{kind}_test"),
            environment=environment(RL),
        output:
            answers=f"{RESULTS}/evaluation/judges/{{kind}}/{{judge}}.jsonl",
        log:
            f"{LOGS}/ask_judge_{{kind}}_{{judge}}.log",
        benchmark:
            f"{BENCHMARKS}/ask_judge_{{kind}}_{{judge}}.tsv"
        wildcard_constraints:
            judge="judge_[a-z_]+",
        conda:
            f"../envs/{RL}.yaml"
        container:
            image(RL)
        threads: threads("ask_judge")
        resources:
            **resources("ask_judge"),
        params:
            python=python_of(RL),
            batch_size=JUDGES["evaluate"]["batch_size"],
            seed=config["seed"],
        message:
            "Asking {wildcards.judge} about the held-out {wildcards.kind} rows"
        shell:
            "{params.python} scripts/ask_judge.py --mode {wildcards.kind} --model {input.model} "
            "--card {input.card} --input {input.rows} --batch-size {params.batch_size} "
            "--seed {params.seed} --threads {threads} --output {output.answers} > {log} 2>&1"

    rule score_judges:
        input:
            unpack(lambda wildcards: judge_answers(wildcards.kind)),
            rows=judge_data("{kind}_test"),
        output:
            scores=f"{RESULTS}/evaluation/judge_{{kind}}.json",
        log:
            f"{LOGS}/score_judges_{{kind}}.log",
        conda:
            "../envs/driver.yaml"
        resources:
            **resources("score_judges"),
        params:
            answers=lambda wildcards: named(judge_answers(wildcards.kind)),
            samples=JUDGES["evaluate"]["bootstrap_samples"],
            seed=config["seed"],
        message:
            "Scoring the {wildcards.kind} judge, before and after its training"
        shell:
            "python scripts/score_judges.py --mode {wildcards.kind} --reference {input.rows} "
            "--answers {params.answers} --samples {params.samples} --seed {params.seed} "
            "--output {output.scores} > {log} 2>&1"

    rule summarize_judges:
        input:
            **JUDGE_SCORES,
            alignment=ALIGNMENT_SUMMARY if config["alignment"] else [],
        output:
            markdown=f"{RESULTS}/judges.md",
            page=report(
                f"{RESULTS}/report/judges.html",
                caption="../report/judges.rst",
                category="Judges",
                labels={"what": "agreement before and after"},
            ),
        log:
            f"{LOGS}/summarize_judges.log",
        conda:
            "../envs/driver.yaml"
        resources:
            **resources("summarize_judges"),
        params:
            scores=list(JUDGE_SCORES.values()),
            alignment=lambda wildcards, input: option("--alignment", input.alignment),
            experiment=config["experiment"],
            seed=config["seed"],
        message:
            "Gathering what the judges have learnt"
        shell:
            "python scripts/summarize_judges.py --experiment {params.experiment} --seed {params.seed} "
            "--scores {params.scores} {params.alignment} --output-markdown {output.markdown} --output-html {output.page} "
            "> {log} 2>&1"

    # Of the judges alone: the rest of the chain need not be run for them.
    rule write_judge_provenance:
        input:
            JUDGE_SCORES.values(),
            [environment(name) for name in sorted({SFT, RL})],
            config=rules.write_config.output.config,
            locks=[f"envs/{name}.txt" for name in ["driver", *sorted({SFT, RL})]],
            data=LOCK if JUDGES["data"]["source"] == "hub" else [],
        output:
            folder=directory(f"{RESULTS}/provenance_judges"),
        log:
            f"{LOGS}/write_judge_provenance.log",
        conda:
            "../envs/driver.yaml"
        resources:
            **resources("write_judge_provenance"),
        params:
            locks=named(
                {name: f"envs/{name}.txt" for name in ["driver", *sorted({SFT, RL})]}
            ),
            records=(
                ""
                if deployed_by() != "uv"
                else "--records "
                + named({name: environment_record(name) for name in sorted({SFT, RL})})
            ),
            data=lambda wildcards, input: option("--data-lock", input.data),
        message:
            "Keeping what made the judges"
        shell:
            "python scripts/write_provenance.py --config {input.config} --locks {params.locks} "
            "{params.records} {params.data} --output {output.folder} > {log} 2>&1"
