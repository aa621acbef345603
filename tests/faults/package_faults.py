"""Defects of the whole package that would void or overstate the guarantee in silence, as texts to be replaced.

Each was written by hand to be as small as a slip is, and each names the tests that must fail where it is planted.
`scripts/plant_faults.py` plants them in a copy of the package; `scripts/list_faults.py --json` prints the list.
This file imports nothing of the package, so that a copy can be made before anything of it is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

ANSWERS = "tests/faults/test_only_answers.py::"
SPLITS = "tests/faults/test_splits.py::"
TABLE = f"{SPLITS}test_a_fit_to_a_table_sees_the_kept_records_of_training_patients_and_nothing_else"
IMAGES = f"{SPLITS}test_a_fit_to_images_sees_the_kept_images_of_training_patients_and_nothing_else"
FIGURE = f"{SPLITS}test_a_public_figure_sees_the_kept_records_of_held_out_patients_and_nothing_else"
PUBLIC = f"{SPLITS}test_two_cohorts_of_other_sizes_leave_the_same_public_bytes_given_the_same_noised_answers"
CAP = f"{SPLITS}test_over_the_cap_no_source_is_opened"
SAME = f"{ANSWERS}test_the_same_answers_leave_the_same_model_of_a_table_whatever_the_records"
SAME_IMAGES = f"{ANSWERS}test_the_same_answers_leave_the_same_model_of_images_whatever_the_records"
COVERS = f"{ANSWERS}test_the_noise_of_every_query_of_a_table_covers_a_patient"
COVERS_IMAGES = f"{ANSWERS}test_the_noise_of_every_query_of_images_covers_a_patient"
PART = f"{ANSWERS}test_each_part_of_an_image_fit_follows_from_its_noised_answers_and_their_noise_covers_a_patient"
PAID = f"{ANSWERS}test_paid_domains_follow_from_their_noised_answers_alone"
PAID_COVERS = f"{ANSWERS}test_the_noise_of_paid_domains_covers_a_patient"
HIDDEN = f"{ANSWERS}test_what_stays_hidden_is_decided_by_noised_counts"
BYTES = "tests/release/bundle/test_public_bytes.py::"
KEPT = "tests/privacy/ledger/test_answer_journal.py::"
BASES = "tests/privacy/ledger/test_ledger_structure.py::"
SERVERS = "tests/privacy/ledger/test_ledger_servers.py::"
CHARGED = "tests/pipeline/test_paid_models.py::"
WEAKER = (
    "tests/release/record/test_deviations.py::test_a_weakening_setting_is_a_deviation_and_nothing_else_is"
)


@dataclass(frozen=True)
class Edit:
    """A text of a file of the package, which stands there exactly once, and what replaces it."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Fault:
    """One defect.

    Attributes:
        name: short name, for the command line.
        area: what kind of defect it is.
        breaks: what is no longer true, in one sentence.
        edits: how it is planted.
        tests: the tests that must fail.
    """

    name: str
    area: str
    breaks: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


def fault(name: str, area: str, breaks: str, file: str, old: str, new: str, *tests: str) -> Fault:
    return Fault(name, area, breaks, (Edit(file, old, new),), tests)


TAKEN = "return self._noise.select(scores, epsilon=math.sqrt(8.0 * rho), sensitivity=sensitivity)"
SELECT = 'pieces = {name: table.select(parts == name) for name in ("train", "reference", "holdout")}'
SELECT_IMAGES = (
    'pieces = {name: whole.select(kept & (parts == name)) for name in ("train", "reference", "holdout")}'
)


def also(text: str, part: str) -> str:
    return text.replace("parts == name", f"(parts == name) | ((name == 'train') & (parts == '{part}'))")


FAULTS = (
    # Splits.
    fault("table-reference-trains", "splits", "reference patients of a table train too",
          "pipeline/fit.py", SELECT, also(SELECT, "reference"), f"{TABLE}[declared]"),
    fault("table-holdout-trains", "splits", "held-out patients of a table train too",
          "pipeline/fit.py", SELECT, also(SELECT, "holdout"), f"{TABLE}[linked]"),
    fault("images-reference-trains", "splits", "reference patients of images train too",
          "ingest/image_cohort.py", SELECT_IMAGES, also(SELECT_IMAGES, "reference"), IMAGES),
    fault("images-holdout-trains", "splits", "held-out patients of images train too",
          "ingest/image_cohort.py", SELECT_IMAGES, also(SELECT_IMAGES, "holdout"), IMAGES),
    fault("figure-of-trained", "splits", "the public figure is computed on patients who trained",
          "pipeline/run.py", "figures = fidelity(cohort.holdout,", "figures = fidelity(cohort.train,",
          f"{FIGURE}[declared]"),
    fault("domains-of-all", "splits", "domains are learnt from held-out patients too",
          "pipeline/fit.py", 'own &= part_of(stripped.units, key=key, shares=_shares(loaded)) == "train"',
          'own &= part_of(stripped.units, key=key, shares=_shares(loaded)) != ""', f"{TABLE}[paid]"),
    fault("split-by-order", "splits", "a patient's split depends on who else is there",
          "privacy/splits.py", 'uniform = np.array(_uniforms(distinct, key, "part:"), dtype=float)',
          "uniform = np.arange(len(distinct)) / max(len(distinct), 1)",
          "tests/privacy/test_splits.py::test_removing_any_patient_leaves_all_others_where_they_were"),
    fault("split-without-key", "splits", "anybody can compute who trained",
          "privacy/splits.py", 'uniform = np.array(_uniforms(distinct, key, "part:"), dtype=float)',
          'uniform = np.array(_uniforms(distinct, bytes(32), "part:"), dtype=float)',
          "tests/privacy/test_splits.py::test_another_key_draws_other_parts_and_other_records"),
    fault("ids-with-blanks", "splits", "a blank beside an id makes two patients of one",
          "data/tables.py", "index=values.index, dtype=object).str.strip()", "index=values.index, dtype=object)",
          "tests/deidentify/test_table.py::"
          "test_units_are_text_without_blanks_around_and_missing_ones_are_empty"),
    # Limits on records.
    fault("table-no-limit", "records", "all records of a patient of a table are used",
          "pipeline/fit.py", "table = table.select(keep_records(table.units, key=key, max_records=schema.unit"
          ".max_records))", "table = table.select(keep_records(table.units, key=key, max_records=10**6))",
          f"{TABLE}[declared]"),
    fault("images-no-limit", "records", "all images of a patient are used",
          "ingest/image_cohort.py", "max_records=loaded.schema.unit.max_records)\n    parts",
          "max_records=10**6)\n    parts", IMAGES),
    fault("domains-no-limit", "records", "domains are learnt from all records of a patient",
          "pipeline/fit.py", "own = keep_records(stripped.units, key=key, max_records=schema.unit.max_records)",
          "own = keep_records(stripped.units, key=key, max_records=10**6)", f"{TABLE}[paid]"),
    fault("linked-no-limit", "records", "linked records have no limit in what is held out",
          "ingest/tables/linked.py", "first_records(units, max_records=table.schema.unit.max_records)",
          "first_records(units, max_records=10**6)", f"{FIGURE}[linked]"),
    fault("one-record-more", "records", "a patient keeps one record more than allowed",
          "privacy/splits.py", "key=ranks.__getitem__)[:max_records]", "key=ranks.__getitem__)[: max_records + 1]",
          "tests/privacy/test_splits.py::test_a_patient_keeps_as_many_records_as_allowed_and_has_one_part"),
    fault("one-linked-record-more", "records", "a patient keeps one linked record more than allowed",
          "privacy/splits.py", "- np.repeat(np.cumsum(counts) - counts, counts) < max_records",
          "- np.repeat(np.cumsum(counts) - counts, counts) <= max_records", f"{TABLE}[linked]"),
    # Lattice weights.
    fault("a-record-weighs-one", "weights", "each record of a patient weighs as much as a patient",
          "privacy/marginal_queries.py", "each = (LATTICE // np.maximum(records, 1)).astype(float)",
          "each = np.full(len(records), float(LATTICE))", f"{COVERS}[p00000-marginal]", PAID_COVERS),
    fault("weights-rounded-up", "weights", "the weights of three records sum to more than a patient",
          "privacy/marginal_queries.py", "each = (LATTICE // np.maximum(records, 1)).astype(float)",
          "each = -(-LATTICE // np.maximum(records, 1)).astype(float)",
          "tests/privacy/test_marginal_queries.py::test_weights_are_whole_and_those_of_a_unit_sum_to_at_most_the_lattice"),
    fault("an-image-weighs-one", "weights", "each image of a patient weighs as much as a patient",
          "generators/image_statistics/noisy_moments.py", "return np.asarray((UNIT // np.maximum(records, 1))[unit_codes], dtype=np.int64)",
          "return np.full(len(unit_codes), UNIT, dtype=np.int64)", f"{COVERS_IMAGES}[p00000-embedding]"),
    # Denominators and sums.
    fault("figure-exact-size", "denominators", "the public figure is divided by the exact number held out",
          "pipeline/run.py", "patients = max(1, round(plan.patients / (1 - share) * share / 2))",
          "patients = cohort.holdout.unit_codes()[1]", PUBLIC),
    fault("figure-exact-shares", "denominators", "shares of the public figure are of the exact number of patients",
          "pipeline/public_metrics.py", "np.abs(np.maximum(measured.counts, 0.0) / patients - share)",
          "np.abs(np.maximum(measured.counts, 0.0) / n_units - share)",
          f"{ANSWERS}test_a_published_figure_follows_from_its_noised_answers_alone"),
    fault("exact-total", "exact sums", "noisy counts are scaled to the exact number of patients",
          "generators/marginal/measurement.py", "return Measurement(attributes, noisy.reshape(exact.shape), sigma)",
          "noisy = noisy * (exact.sum() / LATTICE / noisy.sum())\n"
          "        return Measurement(attributes, noisy.reshape(exact.shape), sigma)",
          f"{SAME}[marginal]"),
    fault("exact-selection", "exact sums", "the best clique is taken without noise",
          "generators/marginal/measurement.py", TAKEN, "return int(np.argmax(scores))",
          f"{SAME}[marginal]", f"{SAME}[marginal, mst]", f"{SAME}[network]"),
    fault("selection-not-used", "exact sums", "a clique is drawn and paid for, and the best one taken all the same",
          "generators/marginal/measurement.py", TAKEN, TAKEN.replace("return ", "") + "\n            return int(np.argmax(scores))",
          f"{SAME}[marginal]", f"{SAME}[marginal, mst]", f"{SAME}[marginal, aim]", f"{SAME}[network]",
          f"{ANSWERS}test_the_same_answers_leave_the_same_model_of_linked_records[marginal]"),
    fault("exact-cells", "exact sums", "cells are merged by exact counts",
          "generators/marginal/mechanism.py", "counts, sigma = ones[name].counts, ones[name].scale\n",
          "counts, sigma = records._exact((name,)) / 65536, ones[name].scale\n", f"{SAME}[marginal]"),
    fault("groups-exact-split", "exact sums", "rho of the groups is split by their exact sizes",
          "generators/marginal/mechanism.py", "counts = {name: one.counts for name, one in by_name.items()}",
          "counts = {name: records._exact((name,)) / 65536 for name in by_name}", f"{SAME}[marginal, groups]"),
    fault("shrunk-to-exact", "exact sums", "pairs are shrunk towards exact shares",
          "generators/marginal/mechanism.py", "pairs = measure_all(records, cliques, sizes, numbers[\"rho\"] * numbers"
          "[\"share_role\"])\n", "pairs = measure_all(records, cliques, sizes, numbers[\"rho\"] * numbers"
          "[\"share_role\"])\n    singles = [Measurement(m.attributes, records._exact(m.attributes) / 65536, m.sigma)"
          " for m in singles]\n", f"{SAME}[marginal]"),
    fault("centre-exact-count", "exact sums", "the mean of all images is divided by their exact number",
          "generators/embedding/mechanism.py", "count = max(float(noisy[0]), 1.0)",
          "count = float(weights.sum() / noisy_moments.UNIT)", f"{SAME_IMAGES}[embedding]"),
    fault("moments-exact", "exact sums", "means and covariances are those without noise",
          "generators/embedding/mechanism.py", "return gaussians(noisy, deviation, scale, self.n_guides)",
          "exact = sums / (noisy_moments.UNIT * float(noisy_moments.STEPS) ** 2)\n"
          "        return gaussians(exact, deviation, scale, self.n_guides)", f"{SAME_IMAGES}[embedding]"),
    fault("lengths-exact", "exact sums", "distances are cut at a quantile of the exact histogram",
          "generators/embedding/mechanism.py", "floor = 3.0 * sigma / LATTICE  #", "counts = exact / LATTICE\n    floor = 0.0  #",
          f"{SAME_IMAGES}[embedding]"),
    fault("votes-exact", "exact sums", "phantoms live on by exact votes",
          "generators/image_statistics/private_evolution.py", "chances = [_chances(counts[c,",
          "counts = exact.reshape(len(shown), most) / LATTICE\n        chances = [_chances(counts[c,", f"{PART}[votes-1.0]"),
    fault("brightness-exact", "exact sums", "shares of brightness are of the exact number of images",
          "generators/image_statistics/intensity_histogram.py", "/ max(float(noisy.sum()), LATTICE * pixels))",
          "/ float(_counts(data, cells).sum()))", f"{PART}[brightness-1.0]"),
    # Noise: its scale, its reuse, its source.
    fault("half-noise", "noise", "marginals have half the noise of the plan",
          "generators/marginal/measurement.py", "sigma=sigma * LATTICE) / LATTICE", "sigma=sigma * LATTICE / 2) / LATTICE",
          f"{COVERS}[p00000-marginal]"),
    fault("sharper-selection", "noise", "a selection costs twice what it books",
          "generators/marginal/measurement.py", "epsilon=math.sqrt(8.0 * rho)", "epsilon=math.sqrt(16.0 * rho)",
          f"{COVERS}[p00000-marginal]"),
    fault("selection-of-unit-weight", "noise", "a weighted score is selected as if its weight were one",
          "generators/marginal/mechanism.py", "sensitivity=largest, rho=rho_select", "sensitivity=1.0, rho=rho_select",
          f"{COVERS}[p00000-marginal]"),
    fault("centre-sensitivity", "noise", "the noise of the mean image covers half of a patient",
          "generators/embedding/mechanism.py", "noisy_moments.lattice_bound(2.0) / (2.0 * rho))",
          "noisy_moments.lattice_bound(0.5) / (2.0 * rho))", f"{COVERS_IMAGES}[p00000-embedding]"),
    fault("moments-sensitivity", "noise", "the noise of the moments forgets all but the pixels",
          "generators/image_statistics/noisy_moments.py", "sensitivity = UNIT * lattice_bound(bound)", "sensitivity = UNIT * lattice_bound(1.0)",
          f"{COVERS_IMAGES}[p00000-embedding]"),
    fault("lengths-sensitivity", "noise", "the histogram of distances has a tenth of its noise",
          "generators/embedding/mechanism.py", "sigma = LATTICE / math.sqrt(2.0 * rho)\n    with noise.query(rho, [\"lengths\"",
          "sigma = LATTICE / math.sqrt(200.0 * rho)\n    with noise.query(rho, [\"lengths\"",
          f"{COVERS_IMAGES}[p00000-embedding]"),
    fault("votes-whole-rho", "votes", "each round of votes has the noise of all rounds' rho",
          "generators/image_statistics/private_evolution.py", "sigma = LATTICE / math.sqrt(2.0 * rho)\n", "sigma = LATTICE / math.sqrt(2.0 * numbers"
          "[\"rho\"])\n", f"{PART}[votes-1.0]"),
    fault("votes-a-record", "votes", "each image of a patient has a vote of its own",
          "generators/image_statistics/private_evolution.py", "lattice_weights(*data.unit_codes())", "np.full(len(data), float(LATTICE))",
          f"{PART}[votes-1.0]"),
    fault("spectrum-noise", "noise", "the spectrum's noise covers half of a patient",
          "generators/image_statistics/power_spectrum.py", "sigma = LATTICE", "sigma = 0.5 * LATTICE", f"{PART}[spectrum-1.0]"),
    fault("brightness-of-a-pixel", "noise", "the noise of brightness covers one pixel of a patient",
          "generators/image_statistics/intensity_histogram.py", "sigma = LATTICE * pixels * math.sqrt(1.0 / (2.0 * rho))",
          "sigma = LATTICE * math.sqrt(1.0 / (2.0 * rho))", f"{PART}[brightness-1.0]"),
    fault("intensity-of-the-data", "noise", "the range of pixels follows from the brightest image",
          "data/images.py", "np.asarray(pixels, dtype=np.float32) / np.float32(schema.images.largest)",
          "np.asarray(pixels, dtype=np.float32) / np.float32(max(pixels.max(initial=0), 1))",
          f"{COVERS_IMAGES}[p00000-embedding]"),
    fault("one-draw-for-all", "noise", "all counts of a marginal have the same noise",
          "privacy/noise.py", "return np.asarray(dp.m.make_gaussian(*space, scale=sigma)(values), dtype=np.int64)",
          "return values + int(dp.m.make_gaussian(*space, scale=sigma)(values[:1])[0]) - int(values[0])",
          "tests/privacy/test_noise.py::test_noise_of_different_counts_is_independent"),
    fault("words-from-a-seed", "seeds", "masks and gradients' noise repeat",
          "privacy/noise.py", "np.frombuffer(ssl.RAND_bytes(8 * size), dtype=np.uint64)",
          "np.random.default_rng(7).integers(0, 2**64, size, dtype=np.uint64)",
          "tests/privacy/test_noise.py::"
          "test_words_masks_and_gaussians_of_the_system_repeat_in_no_other_source_or_draw"),
    fault("fit-from-the-seed", "seeds", "a table's noise follows from the seed in the config",
          "pipeline/fit.py", "        plan,\n        noise=held.noise(NoiseSource.system()),",
          "        plan,\n        noise=held.noise(NoiseSource.for_tests(loaded.config.seed)),", f"{TABLE}[declared]"),
    fault("figure-from-the-seed", "seeds", "the public figure's noise follows from the seed in the config",
          "pipeline/run.py", "noise = held.noise(NoiseSource.system())",
          "noise = held.noise(NoiseSource.for_tests(loaded.config.seed))", f"{FIGURE}[declared]"),
    fault("key-in-common", "seeds", "all cohorts have the same key",
          "privacy/splits.py", "return secrets.token_bytes(KEY_BYTES)", "return bytes(KEY_BYTES)",
          "tests/privacy/test_splits.py::test_keys_come_from_the_system_and_differ"),
    fault("first-answer-again", "noise reuse", "every query of a resumed fit gets the first one's answer",
          "privacy/ledger/answer_journal.py", "self._next += 1\n            return self.stored[seq].copy()",
          "self._next += 1\n            return self.stored[0].copy()",
          "tests/privacy/ledger/test_answer_journal.py::test_stored_answers_are_given_again_without_touching_the_noise"),
    fault("gradient-noise-again", "noise reuse", "every step has the noise of the first one",
          "dpsgd/noisy_sum.py", "drawn, self._drawn = self._drawn, None", "drawn = self._drawn",
          "tests/dpsgd/test_module.py::test_7_noise_has_the_stated_scale_and_is_white_over_steps_and_restarts"),
    # DP-SGD.
    fault("norms-of-cancelling-rows", "clipping", "norms do not cover the rounding of rows that cancel",
          "dpsgd/kernels/gradient_factors.py", "exact = square.clamp(min=0.0) + n_products * UNIT_ROUNDOFF * lengths.square()\n"
          "    return torch.maximum(exact, (LEAST * lengths).square())", "return square.clamp(min=0.0)",
          "tests/dpsgd/test_rounding.py::test_the_audits_patient_of_two_rows_that_cancel",
          "tests/dpsgd/test_rounding.py::test_a_record_moves_the_sum_by_at_most_the_clipping_norm"),
    fault("clip-without-margin", "clipping", "norms are not rounded to the private side",
          "dpsgd/kernels/gradient_factors.py", "return 1 + (2.0**-36 if dtype == torch.float64 else 2.0**-20)", "return 1.0",
          "tests/dpsgd/test_rounding.py::test_equal_numbers_of_any_length_are_clipped_to_the_bound"),
    fault("gradient-noise-of-c-squared", "noise", "the noise of gradients is the clipping norm too small",
          "dpsgd/module.py", "sigma=plan.noise_multiplier * plan.max_grad_norm,",
          "sigma=plan.noise_multiplier * plan.max_grad_norm**2,",
          "tests/dpsgd/test_module.py::test_7_noise_has_the_stated_scale_and_is_white_over_steps_and_restarts"),
    fault("more-patients-a-step", "sampling rate", "each step draws twice as many patients as is booked",
          "dpsgd/module.py", "rate=plan.sample_rate, steps=plan.steps",
          "rate=min(1.0, 2 * plan.sample_rate), steps=plan.steps",
          "tests/dpsgd/test_module.py::test_6_masks_of_a_real_training_are_poisson_and_independent"),
    fault("half-the-rate-is-booked", "sampling rate", "steps are booked at half of their sampling rate",
          "dpsgd/training_plan.py", "            self.sample_rate, dp_event", "            self.sample_rate / 2, dp_event",
          "tests/dpsgd/test_step_accounting.py::test_13_the_plans_epsilon_is_opacus_prv_and_never_below_by_more_than_its_error"),
    fault("half-the-steps-are-booked", "sampling rate", "half of the steps are booked",
          "dpsgd/training_plan.py", "return dp_event.SelfComposedDpEvent(step, steps)",
          "return dp_event.SelfComposedDpEvent(step, steps // 2)",
          "tests/dpsgd/test_step_accounting.py::test_13_the_plans_epsilon_is_opacus_prv_and_never_below_by_more_than_its_error"),
    fault("warm-start-of-all", "warm starts", "the marginal model spends the whole rho and books its share",
          "generators/two_stage/tabular.py", "numbers(schema, paid.rho, patients)", "numbers(schema, whole, patients)",
          f"{ANSWERS}test_what_a_deep_plan_spends_before_its_steps_is_what_its_event_books[gan]"),
    fault("drafts-alone-are-booked", "warm starts", "votes, spectrum and brightness are not booked",
          "generators/two_stage/imaging.py", "paid = dp_event.ZCDpEvent(sum(parts.values()))",
          'paid = dp_event.ZCDpEvent(parts["drafts"])',
          f"{ANSWERS}test_what_a_deep_image_plan_spends_before_its_steps_is_what_its_event_books[gan]"),
    fault("attributes-for-free", "warm starts", "the attributes of images are not booked",
          "generators/attributes.py", "return dp_event.ComposedDpEvent([own.event, pixels.event])",
          "return dp_event.ComposedDpEvent([pixels.event])",
          f"{ANSWERS}test_what_a_deep_image_plan_spends_before_its_steps_is_what_its_event_books[gan]"),
    # PATE.
    fault("teachers-by-order", "PATE", "who comes or goes moves the patients of all teachers",
          "generators/tabular/pategan/teachers.py", "return part_of(units, key=PARTS_KEY, shares=shares).astype(np.int64)",
          "return np.arange(len(units)) % n_teachers",
          "tests/generators/tabular/test_pategan.py::test_parts_are_disjoint_by_patient_fixed_and_all_used"),
    fault("teachers-of-all", "PATE", "every teacher reads all patients",
          "generators/tabular/pategan/teachers.py", "np.ascontiguousarray(rows[parts == i])", "np.ascontiguousarray(rows[parts >= 0])",
          "tests/generators/tabular/test_pategan.py::test_a_patient_moves_each_count_of_votes_by_at_most_one_through_a_whole_fit"),
    fault("one-label-is-booked", "PATE", "all labelled rows of a round are booked as one",
          "generators/tabular/pategan/teachers.py", "rho = n_rows / (2.0 * sigma**2)", "rho = 1 / (2.0 * sigma**2)",
          "tests/generators/tabular/test_pategan.py::test_each_labelled_row_is_paid_for_and_a_vote_beyond_the_plan_is_refused"),
    # Paid domains.
    fault("threshold-of-one-record", "thresholds", "a patient's other records pass the threshold unseen by delta",
          "privacy/partition_selection.py", " + (max_records - 1) * ndtr((unit - threshold) / sigma))", ")",
          "tests/privacy/test_private_domains.py::"
          "test_a_threshold_holds_what_a_patient_alone_could_show_however_it_splits_its_records"),
    fault("exact-threshold", "thresholds", "a category is shown if its exact count passes the threshold",
          "privacy/partition_selection.py", "np.where(noisy > math.ceil(threshold * LATTICE)",
          "np.where(exact > math.ceil(threshold * LATTICE)", HIDDEN),
    fault("exact-shown-counts", "thresholds", "what is shown is counted without noise",
          "privacy/partition_selection.py", "math.ceil(threshold * LATTICE), noisy / LATTICE, np.nan)",
          "math.ceil(threshold * LATTICE), exact / LATTICE, np.nan)", HIDDEN),
    fault("exact-range", "bounds", "bounds are where exact counts are",
          "privacy/private_bounds.py", "found = np.flatnonzero(significant(noisy, sigma))", "found = np.flatnonzero(exact)", PAID),
    fault("exact-ends", "bounds", "bounds are the least and the largest value",
          "ingest/private_domains.py", "    return _with_bounds(column, found)\n\n\ndef _with_bounds",
          "    found = float(np.nanmin(values)), float(np.nanmax(values))\n"
          "    return _with_bounds(column, found)\n\n\ndef _with_bounds", PAID),
    fault("range-noise", "bounds", "the histogram of a range has half its noise",
          "privacy/private_bounds.py", "sigma=sigma * LATTICE) / LATTICE", "sigma=sigma * LATTICE / 2) / LATTICE", PAID_COVERS),
    # The ledger.
    fault("read-before-reserve", "ledger order", "a fit reads records before it reserves",
          "pipeline/fit.py", "        plan = make_plan(loaded, patients=1000)\n        ledger, opened =",
          "        plan = make_plan(loaded, patients=1000)\n        source_digest(loaded.sources)\n        ledger, opened =",
          f"{CAP}[fit]"),
    fault("figure-before-reserve", "ledger order", "the public figure reads records before it reserves",
          "pipeline/run.py", "    rho = calibrate_rho(epsilon, delta)\n", "    rho = calibrate_rho(epsilon, delta)\n"
          "    read_cohort(loaded)\n", f"{CAP}[evaluate --public]"),
    fault("write-off-forgives", "ledger", "a crashed spend that is written off is free",
          "privacy/ledger/state.py", 'self.closed.get(number) != "void"]',
          'self.closed.get(number) not in ("void", "write-off")]',
          "tests/privacy/ledger/test_ledger.py::test_commit_and_write_off_close_a_reservation_and_keep_the_spend"),
    fault("renamed-cohort", "ledger", "a renamed cohort buys a new cap",
          "privacy/ledger/state.py", "return [other for other in self.cohorts if frozenset({name, other}) not in"
          " self.disjoint]", "return [name]",
          "tests/privacy/ledger/test_ledger.py::test_a_renamed_cohort_buys_no_new_cap"),
    fault("void-what-was-drawn", "ledger", "a spend whose noise was drawn can be voided",
          "privacy/ledger/ledger.py", '"void", {"reason": reason}, undrawn=True)', '"void", {"reason": reason})',
          "tests/privacy/ledger/test_ledger.py::test_what_may_have_been_drawn_can_never_be_voided"),
    fault("free-again", "ledger", "a lost query is drawn again for nothing",
          "privacy/ledger/reservation.py", "cost = event if lost.rho is None else dp_event.ZCDpEvent(lost.rho)",
          "cost = dp_event.ZCDpEvent(1e-12)",
          "tests/privacy/ledger/test_answer_journal.py::test_a_crash_is_charged_for_the_lost_query_alone_each_time"),
    fault("filter-lets-through", "ledger", "a mechanism may spend more than its plan's rho",
          "privacy/marginal_queries.py", "if not rho >= 0 or self.spent + rho > self.rho * (1 + 1e-9):", "if not rho >= 0:",
          "tests/privacy/test_marginal_queries.py::test_a_filter_refuses_what_goes_beyond_its_rho"),
    fault("uncounted-looks", "ledger", "looks at the holdout are not entered",
          "pipeline/evaluate.py", "    ledger.note(cohort, content={", "    dict(content={",
          "tests/release/gate/test_accesses_in_gate.py::test_looks_are_numbered_and_one_too_many_is_refused_and_leaves_no_entry"),
    # One reservation draws for one fit; the ledger alone decides, and counts draws.
    fault("free-fit", "noise reuse", "a deep fit whose model is gone is trained again for nothing",
          "privacy/ledger/reservation.py", "    if not journal.given_up:\n", "    if journal is not None:\n",
          f"{KEPT}test_a_committed_fit_is_never_trained_again_for_free",
          f"{KEPT}test_noise_that_is_not_kept_makes_a_resumed_run_a_new_fit"),
    fault("never-frozen", "noise reuse", "a finished fit draws more noise",
          "privacy/ledger/answer_journal.py", "self._frozen = True", "self._frozen = False",
          f"{KEPT}test_a_finished_fit_draws_neither_answers_nor_noise_that_is_not_kept"),
    fault("after-the-commit", "noise reuse", "a fit without a journal draws after its commit",
          "privacy/ledger/reservation.py", "        self._closed = True\n", "        self._closed = False\n",
          f"{KEPT}test_nothing_is_drawn_after_a_commit_without_a_journal_either"),
    fault("interrupted-draws", "ledger", "Ctrl-C between a draw and its answer loses what was paid for",
          "privacy/ledger/answer_journal.py", "        with signals_wait():\n", "        if True:\n",
          f"{KEPT}test_an_interrupt_during_a_draw_waits_until_its_answer_is_stored"),
    fault("older-copy", "noise reuse", "stored answers that were restored from an older copy are accepted",
          "privacy/ledger/reservation.py", "    if journal.position == at:", "    if journal.position.counter <= at.counter:",
          f"{KEPT}test_an_older_copy_of_the_answers_never_draws_a_query_twice_on_one_charge[killed-in place]",
          f"{KEPT}test_an_older_copy_from_before_noise_that_is_not_kept_is_refused"),
    fault("uncounted-draws", "noise reuse", "draws are not counted by the ledger",
          "privacy/ledger/answer_journal.py", "        self.announce(before, self.position)\n", "",
          f"{KEPT}test_an_older_copy_of_the_answers_never_draws_a_query_twice_on_one_charge[killed-removed first]"),
    fault("counter-of-anybody", "noise reuse", "two copies of a run draw at once",
          "privacy/ledger/store.py", "            & (DRAWS.c.counter == before.counter)\n"
          "            & (DRAWS.c.journal == before.digest)\n", "",
          f"{KEPT}test_of_two_copies_that_go_on_at_once_one_draws_and_the_other_is_refused[sqlite]"),
    fault("edited-counter", "ledger", "an edited count of draws is not found",
          "privacy/ledger/draw_counter.py", "            and row.hash == _hash(row.entry, row.position, hashes[row.entry])\n", "",
          "tests/privacy/ledger/test_answer_journal.py::"
          "test_an_edited_or_missing_count_of_draws_is_found[sqlite-UPDATE draws SET counter = 0]"),
    fault("model-is-not-committed", "ledger", "the commit does not name the model that it paid for",
          "pipeline/fit.py", 'held.commit(detail | ({"model": digest} if digest else {}))', "held.commit(detail)",
          f"{CHARGED}test_a_model_that_the_ledger_has_not_charged_is_not_evaluated"),
    fault("altered-model", "ledger", "a model that the ledger has not charged is evaluated and released",
          "pipeline/evaluate.py", "    if not mine and any(", "    if fits is None and any(",
          f"{CHARGED}test_a_model_that_the_ledger_has_not_charged_is_not_evaluated"),
    fault("unchecked-structure", "ledger", "a trigger in the ledger's database erases spends",
          "privacy/ledger/structure.py", "        if (kind, name, table) not in expected:", "        if kind == 'x':",
          f"{BASES}test_a_trigger_cannot_erase_twenty_spends_of_a_cap_of_one"),
    fault("not-read-back", "ledger", "what is lost at the commit is not noticed",
          "privacy/ledger/store.py", "        if written:\n            self._read_back(written)\n", "",
          f"{BASES}test_what_is_lost_at_the_commit_is_found_by_reading_it_back[sqlite]"),
    fault("any-server", "ledger", "a server that only a config names gets the password",
          "privacy/ledger/location.py", "    if not named and endpoint not in _named(own):", "    if endpoint is None:",
          f"{SERVERS}test_a_server_that_only_a_config_names_is_not_even_spoken_to"),
    fault("anybody-is-let-in", "ledger", "a server that proves nothing is believed",
          "privacy/ledger/server.py", "        if self._proved or unasked or", "        if self._scram or unasked or",
          f"{SERVERS}test_a_server_gets_neither_password_nor_hash_whatever_it_asks_for[no proof]"),
    fault("any-run-is-own", "ledger", "a received run brings its own ledger",
          "pipeline/own_runs.py", "    return hmac.compare_digest(_hash(key, content), sealed)", "    return True",
          "tests/pipeline/test_received_runs.py::test_a_received_run_does_not_bring_its_ledger[release]"),
    fault("unentered-release", "ledger", "a release is not entered in the ledger",
          "release/bundle/bundle.py", "    enter()\n    if not there:\n", "    if not there:\n",
          "tests/release/bundle/test_ledger_entry.py::test_a_release_enters_the_digest_of_its_record_once"),
    # Units.
    fault("rows-and-patients", "ledger", "spends of rows and of patients compose",
          "privacy/ledger/units.py", "        return a is b\n", "        return True\n",
          "tests/privacy/ledger/test_ledger_units.py::test_only_spends_of_one_unit_compose[row-patient by column 'pid'0]"),
    fault("any-column", "ledger", "spends for patients by different columns compose",
          "privacy/ledger/units.py", 'if a.level == "row" or a.column == b.column:', "if a.level == b.level:",
          "tests/privacy/ledger/test_ledger_units.py::"
          "test_columns_that_name_the_same_patients_compose_once_that_is_recorded[sqlite]"),
    fault("unit-is-not-stated", "ledger", "a fit books no unit",
          "pipeline/fit.py", "            unit=ledger_unit(loaded.schema),\n", "",
          f"{CHARGED}test_a_run_of_another_unit_is_refused_before_a_record_is_read"),
    # The accountant.
    fault("cheap-selection", "accountant", "a selection is booked as half of what it costs",
          "privacy/accountant.py", "return dp_event.ZCDpEvent(rho=epsilon**2 / 8)",
          "return dp_event.ZCDpEvent(rho=epsilon**2 / 16)",
          "tests/privacy/test_accountant.py::test_power_from_rdp_covers_a_selection"),
    fault("replace-is-remove", "accountant", "replacing a patient costs no more than removing one",
          "release/record/record.py", "best, low = min(best, 2 * epsilon), middle", "best, low = min(best, epsilon), middle",
          "tests/release/record/test_record.py::test_replace_one_covers_a_gaussian_of_twice_the_sensitivity"),
    # The record, and what is public.
    fault("sequence-as-planned", "record", "a sequence of spends claims what only spends planned together keep to",
          "release/record/inputs.py", "return self.cap if self.adaptive else self.epsilon", "return self.epsilon",
          "tests/release/record/test_record.py::"
          "test_of_a_sequence_of_spends_the_cap_is_claimed_and_of_one_its_own_epsilon"),
    fault("certain-guess", "record", "a guess may be right more often than the words say",
          "release/plain_language.py", " + delta / (1 + math.exp(epsilon))", "",
          "tests/release/record/test_record.py::test_no_guess_is_right_more_often_than_the_words_say[0.05-0.1]"),
    fault("record-exact-size", "record", "the record prints the exact number of patients",
          "pipeline/evaluate.py", "patients = loaded.config.budget.patients or cohort.n_units", "patients = cohort.n_units", PUBLIC),
    fault("plan-of-the-count", "record", "the plan follows from the counted patients where a number was declared",
          "pipeline/fit.py", "n_patients = budget.patients or patients", "n_patients = patients or budget.patients", PUBLIC),
    fault("counted-is-not-said", "record", "the record calls a counted size protected",
          "pipeline/fit.py", "patients_counted=budget.patients is None)", "patients_counted=False)",
          f"{WEAKER}[budget.patients]"),
    fault("epsilon-of-this-alone", "record", "the record's epsilon of all releases is that of the last one",
          "pipeline/evaluate.py", "        epsilon=spent.epsilon,\n        delta=spent.delta,", "        epsilon=plan.epsilon,\n"
          "        delta=spent.delta,", PUBLIC),
    fault("rows-as-patients", "record", "a plan that protects rows says patients",
          "generators/marginal/config.py", "unit=schema.unit.level,", 'unit="patient",', f"{WEAKER}[schema.unit.level]"),
    fault("own-is-not-said", "record", "files without a patient count as patients and nobody is told",
          "release/record/deviations.py", 'images.without_id == "own"', 'images.without_id == "mine"',
          f"{WEAKER}[data.images.without_id]"),
    fault("internal-goes-public", "public files", "ingest's exact counts lie in public/",
          "pipeline/run_folder.py", "path = self.internal / name\n        json_file", "path = self.public / name\n        jsonfile",
          PUBLIC),
    fault("whole-schema-is-saved", "public files", "the saved schema holds what it says of dropped columns",
          "schema/schema.py", "Field(name=field.name, type=field.type, role=field.role) if field.is_unseen else field",
          "field", f"{BYTES}test_the_public_schema_of_a_marked_schema_has_no_mark_and_is_its_own_public_schema"),
    Fault("model-with-whole-schema", "public files", "models are saved with the private schema",
          (Edit("generators/saved_model.py", "schema.public().model_dump_json", "schema.model_dump_json"),
           Edit("ingest/tables/table.py", "RealTable(schema.public(), content", "RealTable(schema, content")),
          (f"{BYTES}test_no_public_byte_of_images_says_what_the_schema_says_of_an_unseen_column",)),
    fault("rules-of-dropped-columns", "public files", "hard rules tell what stands in dropped columns",
          "schema/schema.py", "tuple(rule.text for rule in self.parsed_rules)", "self.rules",
          f"{BYTES}test_the_public_schema_of_a_marked_schema_has_no_mark_and_is_its_own_public_schema"),
)  # fmt: skip
