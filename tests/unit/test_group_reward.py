"""From a prompt's rollouts to their rewards: one judge call per group, in both semantics."""

import asyncio
import itertools
import math
import random
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grrm.files import UserError, read_jsonl
from grrm.judges.groups import Group
from grrm.prompts import ranking_answer
from grrm.rewards.group import (
    NEUTRAL_SCORE,
    STOP_MARK,
    GroupOptions,
    GroupRewardManager,
    GroupRewards,
    Judgement,
    Rollout,
    asking_insistently,
    overlong_penalty,
    plan_group,
    published_code_block,
    published_scores,
    score_plan,
    strict_scores,
)
from grrm.rewards.group.collect import Place
from grrm.rewards.kinds import Scorer, ScoringOptions
from grrm.rewards.step_metrics import step_metrics
from grrm.rounds import PLACE, Rounds

GOLDEN = Path(__file__).parent.parent / "data/golden"
STRICT = GroupOptions(prompt="unused", score_scale=0.1, default_reward=-0.4, deadline=5.0)
PAPER = replace(STRICT, semantics="paper")
NEUTRAL = NEUTRAL_SCORE * 0.1
SOURCE = Group("es regnet", (), src_lang="de", trg_lang="en")
SCORES = {"good": 9, "fair": 6, "poor": 2}


def response(translation):
    return f"thinking\n\n```\n{translation}\n```"


@pytest.fixture(scope="module", autouse=True)
def prompt(tmp_path_factory):
    """A prompt that is nothing but the candidates, a line each."""
    path = tmp_path_factory.mktemp("prompts") / "ranking.yaml"
    path.write_text(
        "kind: ranking_score\n"
        'prompt: "{candidates}\\n{source_language} {target_language} {source}"\n'
        "candidate: '{label} {text}'\n"
    )
    Judge.prompt = str(path)


class Judge:
    """Scores the candidates it is shown by `SCORES`, or answers what it is told to."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.shown = []
        self.temperatures = []

    async def __call__(self, prompt, temperature):
        self.shown.append([line.partition(" ")[2] for line in prompt.splitlines()[:-1]])
        self.temperatures.append(temperature)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer or ranking_answer("compared", [SCORES[text] for text in self.shown[-1]])


def rewards_of(options, judge, *, fits=lambda prompt: True):
    scoring = ScoringOptions(options.kind, prompt=Judge.prompt, served=True)
    scorer = Scorer(scoring, asking=asking_insistently(options, judge, fits))
    return GroupRewards(options, partial(score_plan, scorer=scorer))


def run(texts, options=STRICT, judge=None, expected=None, lengths=None, **more):
    """Rewards of the responses of one group, the judge, and the reported figures."""
    judge = judge or Judge()

    async def main():
        rewards = rewards_of(options, judge, **more)
        rollouts = zip(texts, lengths or itertools.repeat(10), strict=False)
        calls = [
            rewards.reward("u", Rollout(text, length), SOURCE, expected=expected or len(texts), step=1)
            for text, length in rollouts
        ]
        return await asyncio.gather(*calls)

    results = asyncio.run(main())
    return SimpleNamespace(
        values=[result.value for result in results], infos=[result.info for result in results], judge=judge
    )


def group(*translations):
    return [response(translation) for translation in translations]


# ---------------------------------------------------------------- strict


def test_a_group_is_judged_in_one_call_and_every_rollout_gets_its_own_score():
    result = run(group("poor", "good", "fair"))
    assert result.values == pytest.approx([0.2, 0.9, 0.6])
    assert len(result.judge.shown) == 1
    assert [info["judge_score"] for info in result.infos] == [2, 9, 6]


def test_identical_translations_are_shown_once_and_share_their_score():
    result = run(group("good", "poor", "good", "good"))
    assert sorted(result.judge.shown[0]) == ["good", "poor"]
    assert result.values == pytest.approx([0.9, 0.2, 0.9, 0.9])


def test_identical_valid_answers_are_not_judged_and_not_punished():
    result = run(group("good", "good", "good"))
    assert result.judge.shown == []
    assert result.values == pytest.approx([NEUTRAL] * 3)
    assert {info["identical_group"] for info in result.infos} == {1.0}


def test_an_invalid_rollout_is_left_out_of_the_judgement_and_gets_the_default():
    result = run([*group("good", "poor"), "no translation here"])
    assert sorted(result.judge.shown[0]) == ["good", "poor"]
    assert result.values == pytest.approx([0.9, 0.2, -0.4])
    assert [info["valid"] for info in result.infos] == [1, 1, 0]


def test_a_group_without_any_translation_learns_nothing():
    result = run(["nothing", "", "``` open"])
    assert result.values == [-0.4] * 3
    assert result.judge.shown == []


def test_a_failed_judgement_is_asked_again_hotter():
    result = run(group("good", "poor"), judge=Judge("gibberish"))
    assert result.values == pytest.approx([0.9, 0.2])
    assert result.judge.temperatures == [0.0, 1.0]
    assert {info["judge_retries"] for info in result.infos} == {1.0}


@pytest.mark.parametrize("failure", ["gibberish", TimeoutError("slow"), RuntimeError("HTTP 500")])
def test_a_failed_judgement_gives_no_gradient_among_valid_rollouts(failure):
    result = run(group("good", "poor", "fair"), judge=Judge(failure, failure))
    assert len(set(result.values)) == 1
    assert {info["judge_failed"] for info in result.infos} == {1.0}
    assert {info["judged"] for info in result.infos} == {0.0}


def test_a_failed_judgement_still_puts_invalid_rollouts_below_valid_ones():
    options = replace(STRICT, max_response_length=20, overlong_buffer=10, overlong_penalty=0.4)
    texts = [*group("good", "poor"), "invalid"]
    result = run(texts, options, Judge("?", "?"), lengths=[20, 5, 5])
    assert result.values == pytest.approx([NEUTRAL, NEUTRAL, -0.4])


@pytest.mark.parametrize(
    "answer",
    [
        ranking_answer("x", [9, 2, 1]),  # a candidate too many
        "x\n\n### Final Ranking:\n\nA > B\n\n### Scores:\n\nA: 2, B: 9\n",  # contradicts itself
        "x\n\n### Final Ranking:\n\nA > B\n\n### Scores:\n\nA: 11, B: 9\n",  # out of range
    ],
)
def test_an_answer_that_is_not_exactly_right_is_a_failure(answer):
    with pytest.raises(ValueError, match=r"ranking|contradiction|scores"):
        strict_scores(answer, 2)


def test_a_prompt_too_long_for_the_judge_is_a_failure_without_a_call():
    result = run(group("good", "poor"), fits=lambda prompt: False)
    assert result.values == pytest.approx([NEUTRAL] * 2)
    assert {info["prompt_too_long"] for info in result.infos} == {1.0}
    assert {info["prompt_too_long"] for info in run(group("good", "poor")).infos} == {0.0}
    assert result.judge.shown == []


def test_every_rollout_pays_its_own_length_penalty():
    options = replace(STRICT, max_response_length=20, overlong_buffer=10, overlong_penalty=0.4)
    result = run(group("good", "good", "poor"), options, lengths=[10, 15, 30])
    assert result.values == pytest.approx([0.9, 0.9 - 0.2, 0.2 - 0.4])


@pytest.mark.parametrize(("length", "penalty"), [(0, 0), (2048, 0), (3072, 0.02), (4096, 0.04), (9999, 0.04)])
def test_the_length_penalty_grows_over_the_buffer_and_stops(length, penalty):
    options = GroupOptions(prompt="x", max_response_length=4096, overlong_buffer=2048, overlong_penalty=0.04)
    assert overlong_penalty(length, options) == pytest.approx(penalty)


def test_the_order_of_candidates_depends_on_the_seed_but_not_on_who_came_first():
    texts = group(*"abcdef")
    order = plan_group(texts, SOURCE, STRICT).candidates
    assert plan_group(texts[::-1], SOURCE, STRICT).candidates == order
    orders = {plan_group(texts, SOURCE, replace(STRICT, seed=seed)).candidates for seed in range(20)}
    assert len(orders) > 10


def test_no_candidate_is_always_first():
    firsts = [
        plan_group(group("a", "b"), replace(SOURCE, question=str(i)), STRICT).candidates[0]
        for i in range(200)
    ]
    assert 60 < firsts.count("a") < 140


@given(st.lists(st.sampled_from(["good", "fair", "poor", None]), min_size=2, max_size=6), st.randoms())
def test_permuting_the_rollouts_permutes_the_rewards(translations, random):
    texts = ["invalid" if text is None else response(text) for text in translations]
    order = random.sample(range(len(texts)), len(texts))
    values = run(texts).values
    assert run([texts[i] for i in order]).values == [values[i] for i in order]


@given(st.lists(st.sampled_from(["good", "fair", "poor", None]), min_size=1, max_size=6), st.booleans())
def test_the_same_figures_are_reported_whatever_happens(translations, fails):
    texts = ["invalid" if text is None else response(text) for text in translations]
    result = run(texts, judge=Judge("?", "?") if fails else None)
    complete = run(group("good", "poor")).infos[0]
    for info in result.infos:
        assert info.keys() == complete.keys()
        assert all(isinstance(value, float) and np.isfinite(value) for value in info.values())


# ---------------------------------------------------------------- collecting


def test_groups_that_arrive_interleaved_are_kept_apart():
    judge = Judge()

    async def main():
        rewards = rewards_of(STRICT, judge)
        arrivals = [("1", "good"), ("2", "poor"), ("1", "fair"), ("2", "good")]
        calls = [
            rewards.reward(uid, Rollout(response(text), 5), SOURCE, expected=2, step=1)
            for uid, text in arrivals
        ]
        return [reward.value for reward in await asyncio.gather(*calls)]

    assert asyncio.run(main()) == pytest.approx([0.9, 0.2, 0.6, 0.9])
    assert len(judge.shown) == 2


def test_the_groups_of_a_step_are_asked_about_in_one_round_in_the_order_of_their_rows():
    """The judge of the second group asks again; the third has nothing to ask."""
    rounds_made = []

    async def answer(questions):
        rounds_made.append(questions)
        return [ranking_answer("compared", [9, 2])] * len(questions)

    async def main():
        rounds = Rounds(answer)

        async def ask(plan, source):
            for _ in range({"invalid": 0, "fails": 2}.get(source.question, 1)):
                await rounds.ask((source.question, plan.translations), PLACE.get())
            return Judgement("judged", tuple(range(len(plan.candidates))))

        rewards = GroupRewards(PAPER, ask, rounds)

        async def arrive(row, question, number, text):
            await asyncio.sleep(random.uniform(0, 0.05))
            return await rewards.reward(
                f"uid of {row}",
                Rollout(response(text), 5, number),
                replace(SOURCE, question=question),
                expected=2,
                step=1,
                place=Place(row, "first", 3),
            )

        groups = [(7, "plain"), (8, "fails"), (9, "invalid")]
        arrivals = [(*group, n, text) for group in groups for n, text in enumerate(["good", "poor"])]
        await asyncio.wait_for(asyncio.gather(*[arrive(*arrival) for arrival in arrivals]), 10)
        # Of a step whose groups nobody has counted, each is asked about by itself.
        alone = rewards.reward("u", Rollout(response("good"), 5), SOURCE, expected=1, step=2)
        await asyncio.wait_for(alone, 10)

    asyncio.run(main())
    shown = ("good", "poor")
    assert rounds_made[:2] == [[("plain", shown), ("fails", shown)], [("fails", shown)]]
    assert rounds_made[2:] == [[(SOURCE.question, ("good",))]]


def test_after_the_deadline_a_group_is_judged_without_its_missing_members():
    result = run(group("good", "poor"), replace(STRICT, deadline=0.05), expected=3)
    assert result.values == pytest.approx([0.9, 0.2])
    assert {info["missing_siblings"] for info in result.infos} == {1.0}


def test_rollouts_that_come_after_the_deadline_are_not_judged_against_each_other():
    judge = Judge()

    async def main():
        rewards = rewards_of(replace(STRICT, deadline=0.05), judge)

        async def reward(*texts):
            calls = [rewards.reward("u", Rollout(t, 5), SOURCE, expected=5, step=1) for t in texts]
            return await asyncio.gather(*calls)

        await reward(*group("good", "poor"))
        return await reward(*group("fair", "poor"), "invalid")

    late = asyncio.run(main())
    assert [reward.value for reward in late] == pytest.approx([NEUTRAL, NEUTRAL, -0.4])
    assert [reward.info["judge_failed"] for reward in late] == [1, 1, 0]
    assert len(judge.shown) == 1


def test_the_run_stops_when_too_many_judgements_fail(capsys):
    options = replace(STRICT, retries=0, max_failure_rate=0.5, failure_window=4)

    async def main():
        judge = Judge("?", None, "?", "?")
        rewards = rewards_of(options, judge)
        for uid in range(9):
            texts = group("good", "poor")
            calls = [rewards.reward(str(uid), Rollout(t, 5), SOURCE, expected=2, step=1) for t in texts]
            await asyncio.gather(*calls)

    said = r"3 of the last 4 judgements failed.*max_failure_rate 0\.5 allows: 3 malformed answer: incomplete"
    with pytest.raises(UserError, match=said):
        asyncio.run(main())
    assert capsys.readouterr().out.startswith(STOP_MARK)


def test_an_error_in_judging_stops_the_run_instead_of_dropping_the_group(capsys):
    unknown = replace(SOURCE, src_lang="no language")

    async def main():
        rewards = rewards_of(STRICT, Judge())
        calls = [rewards.reward("u", Rollout(t, 5), unknown, expected=2, step=1) for t in group("a", "b")]
        return await asyncio.gather(*calls, return_exceptions=True)

    assert [type(error) for error in asyncio.run(main())] == [UserError, UserError]
    assert f"{STOP_MARK} unknown language code 'no language'" in capsys.readouterr().out


def test_a_judge_that_is_gone_stops_the_run_however_few_judgements_failed(capsys):
    with pytest.raises(UserError, match="cannot be reached"):
        run(group("good", "poor"), judge=Judge(UserError("the judge cannot be reached")))
    assert f"{STOP_MARK} the judge cannot be reached" in capsys.readouterr().out


def test_the_ledger_holds_every_group_and_the_texts_of_the_first_judged_one(tmp_path):
    options = replace(STRICT, ledger=str(tmp_path / "judgements.jsonl"), ledger_texts=1)

    async def main():
        rewards = rewards_of(options, Judge(None, "?", "?"))
        for uid in "-ab":
            texts = [*group("good", "poor" if uid != "-" else "good"), "invalid"]
            calls = [rewards.reward(uid, Rollout(t, 7), SOURCE, expected=3, step=4) for t in texts]
            await asyncio.gather(*calls)

    asyncio.run(main())
    identical, first, second = read_jsonl(options.ledger)
    assert (identical["outcome"], "candidates" in identical) == ("identical", False)
    assert (first["step"], first["uid"], first["outcome"]) == (4, "a", "judged")
    assert [first["candidates"][i] for i in first["candidate"][:2]] == ["good", "poor"]
    assert first["candidate"][2] is None
    assert first["rewards"] == pytest.approx([0.9, 0.2, -0.4])
    assert first["src_text"] == "es regnet"
    assert (second["outcome"], second["scores"]) == ("failed", None)
    assert second["reason"].startswith("malformed answer: incomplete")
    assert "candidates" not in second


# ---------------------------------------------------------------- paper


def test_paper_shows_candidates_in_the_order_of_their_first_appearance():
    result = run(group("poor", "good", "poor", "fair"), PAPER)
    assert result.judge.shown == [["poor", "good", "fair"]]


def test_paper_gives_identical_groups_the_default():
    assert run(group("good", "good"), PAPER).values == [-0.4, -0.4]


def test_paper_gives_everyone_the_default_if_the_prompt_is_too_long():
    assert run(group("good", "poor"), PAPER, fits=lambda prompt: False).values == [-0.4, -0.4]


def test_paper_scales_the_default_when_a_judgement_fails_and_never_asks_again():
    judge = Judge("gibberish")
    result = run([*group("good", "poor"), "invalid"], PAPER, judge)
    assert result.values == pytest.approx([-0.04, -0.04, -0.4])
    assert len(judge.shown) == 1


def test_paper_charges_copies_for_the_length_of_the_first():
    options = replace(PAPER, max_response_length=20, overlong_buffer=10, overlong_penalty=0.4)
    result = run(group("good", "poor", "good"), options, lengths=[10, 15, 20])
    assert result.values == pytest.approx([0.9, 0.2 - 0.2, 0.9])


def test_paper_takes_contradicting_answers_and_surplus_labels():
    answer = "x\n\n### Final Ranking:\n\nA > B\n\n### Scores:\n\nA: 2, B: 99, C: 5"
    assert published_scores(answer, 2) == (2, 99)


@pytest.mark.parametrize(
    "case",
    [row for row in read_jsonl(GOLDEN / "grrm_group_scores.jsonl") if row["prompt_type"] == "ranking_score"],
    ids=lambda case: case["id"],
)
def test_paper_reads_scores_as_published(case):
    expected = case["out"]["value"]
    if expected is None:
        with pytest.raises(ValueError, match=r"."):
            published_scores(case["text"], case["n"])
    else:
        assert list(published_scores(case["text"], case["n"])) == expected


@pytest.mark.parametrize(
    "case",
    [row for row in read_jsonl(GOLDEN / "grrm_extract.jsonl") if row["fn"] == "rm_lib._block_extractor"],
    ids=lambda case: case["id"],
)
def test_paper_extracts_translations_as_published(case):
    assert published_code_block(case["text"]) == case["out"]["value"]


@pytest.mark.parametrize("answer", ["A: 4,, B: 9", ", A: 4, , B: 9,", "A: 4, B: 9 , "])
def test_paper_passes_over_what_is_empty_between_commas(answer):
    assert published_scores(f"x\n{answer}", 2) == (4, 9)


def test_paper_keeps_the_language_tag():
    assert published_code_block("x\n```zh\n你好\n```") == "zh\n你好"


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "prompt is missing"),
        ({"prompt": "p", "factor": 1}, "unknown factor; known are .*score_scale"),
        ({"prompt": "p", "scale": "both"}, "scale is .both., expected .absolute. or .group."),
        ({"prompt": "p", "semantics": "paper", "kind": "bleu"}, "paper.*kind is .bleu."),
        ({"kind": "elo"}, "kind is .elo., expected one of grrm, sqm"),
        (
            {"prompt": "p", "kind": "pointwise", "task": "conversation", "reference": True},
            "reference is true, expected false for task 'conversation'",
        ),
        ({"prompt": "p", "semantics": "loose"}, "semantics is 'loose'"),
        ({"prompt": "p", "default_reward": 0.05}, "default_reward is 0.05.*invalid must not pay"),
        ({"prompt": "p", "overlong_buffer": 9, "max_response_length": 8}, "longer than the longest response"),
        ({"prompt": "p", "max_failure_rate": 2}, "max_failure_rate is 2"),
        ({"prompt": "p", "deadline": 0}, "deadline is 0"),
    ],
)
def test_wrong_options_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        GroupOptions.from_mapping(values)


# ---------------------------------------------------------------- verl's interface


class Tokenizer:
    def decode(self, ids, skip_special_tokens):
        assert skip_special_tokens
        return "".join(map(chr, ids))

    def apply_chat_template(self, messages, **_):
        return list(messages[0]["content"])


def verl_config(tmp_path, **reward):
    prompt = tmp_path / "ranking.yaml"
    prompt.write_text(
        "kind: ranking_score\n"
        "prompt: '{source_language} {target_language} {source} {candidates}'\n"
        "candidate: '{label} {text}'\n"
    )
    server = SimpleNamespace(top_p=1.0, top_k=-1, response_length=9, prompt_length=99)
    return SimpleNamespace(
        actor_rollout_ref=SimpleNamespace(rollout=SimpleNamespace(n=2, val_kwargs=SimpleNamespace(n=1))),
        reward=SimpleNamespace(
            num_workers=1,
            reward_model=SimpleNamespace(model_path="m", rollout=server),
            get={"reward_kwargs": {"prompt": str(prompt), **reward}}.get,
        ),
    )


class Data(list):
    """One trajectory, as a DataProto of verl: padded after the response."""

    def __init__(self, text, split):
        padded = np.array([ord(letter) for letter in text] + [0, 0])
        mask = np.array([1, 1, 1] + [1] * len(text) + [0, 0])
        info = {"src_text": "s", "src_lang": "de", "trg_lang": "en", "split": split}
        super().__init__(
            [
                SimpleNamespace(
                    batch={"responses": padded, "attention_mask": mask},
                    non_tensor_batch={"uid": "u", "extra_info": info, "global_steps": 3},
                )
            ]
        )


def test_the_manager_answers_in_verls_form(tmp_path):
    async def main():
        manager = GroupRewardManager(verl_config(tmp_path), Tokenizer(), None, "127.0.0.1:9", Tokenizer())
        data = [Data(response("good"), "train"), Data("invalid", "train")]
        return await asyncio.gather(*map(manager.run_single, data))

    valid, invalid = asyncio.run(main())
    assert valid["reward_score"] == pytest.approx(0.05)
    assert invalid["reward_score"] == pytest.approx(-0.04)
    assert valid["reward_extra_info"].keys() == invalid["reward_extra_info"].keys()


def test_a_validation_prompt_has_its_own_number_of_rollouts(tmp_path):
    async def main():
        manager = GroupRewardManager(verl_config(tmp_path), Tokenizer(), None, "127.0.0.1:9", Tokenizer())
        return await manager.run_single(Data(response("good"), "validation"))

    assert asyncio.run(main())["reward_extra_info"]["missing_siblings"] == 0


def test_more_than_one_reward_worker_is_refused(tmp_path):
    config = verl_config(tmp_path)
    config.reward.num_workers = 8
    with pytest.raises(UserError, match=r"num_workers is 8, expected 1"):
        GroupRewardManager(config, Tokenizer(), None, "127.0.0.1:9", Tokenizer())


# ---------------------------------------------------------------- figures of a step


def test_figures_of_a_step():
    result = run([*group("good", "poor"), "invalid"])
    failed = run(group("good", "poor"), judge=Judge("?", "?"))
    metrics = step_metrics(
        ["a", "a", "a", "b", "b"], result.values + failed.values, result.infos + failed.infos
    )
    assert metrics["reward/groups"] == 2
    assert metrics["reward/zero_variance_groups"] == 0.5
    assert metrics["reward/valid"] == pytest.approx(0.8)
    assert metrics["reward/judge_failed"] == pytest.approx(0.4)
    # Over the two rollouts that were judged, not over all five.
    assert metrics["reward/judge_score"] == pytest.approx(5.5)
    assert metrics["reward/judge_score_std"] == pytest.approx(3.5)


def test_a_step_has_the_same_figures_whether_anything_was_judged_or_not():
    judged = run(group("good", "poor"))
    failed = run(group("good", "poor"), judge=Judge("?", "?"))
    seen, unseen = (step_metrics(["a", "a"], result.values, result.infos) for result in (judged, failed))
    assert seen.keys() == unseen.keys()
    assert {key for key, value in unseen.items() if math.isnan(value)} == {
        "reward/judge_score",
        "reward/judge_score_std",
    }
    assert not any(map(math.isnan, seen.values()))


def test_figures_of_a_step_without_a_judge():
    infos = [{"score": 1.0, "valid": 1.0}, {"score": 0.0, "valid": 0.0}]
    metrics = step_metrics(["a", "a"], [1.0, 0.0], infos)
    assert metrics["reward/valid"] == 0.5
    assert "reward/judge_score_std" not in metrics
