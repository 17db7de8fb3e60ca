use proptest::prelude::*;

use super::*;

fn key(request: u64) -> Key {
    Key { request, answer: 0 }
}

fn generating(request: u64) -> Running {
    Running {
        key: key(request),
        pending: 1,
        opening: false,
        growth: 0,
        exclusive: 1,
        scoring: false,
    }
}

fn opening(request: u64, pending: usize) -> Running {
    Running {
        pending,
        opening: true,
        ..generating(request)
    }
}

fn asking(request: u64, pending: usize, blocks: usize) -> Waiting {
    Waiting {
        key: key(request),
        pending,
        blocks,
        follows: false,
        overtaken: 0,
        scoring: false,
    }
}

const ROOM: Room = Room {
    rows: 8,
    tokens: 16,
    scored: 4,
    free_blocks: 100,
};

fn numbers(keys: &[Key]) -> Vec<u64> {
    keys.iter().map(|key| key.request).collect()
}

#[test]
fn generating_answers_go_before_prompts_within_the_budget() {
    let running = [opening(1, 40), generating(2), generating(3)];
    let plan = plan(&running, &[asking(4, 5, 1)], ROOM);
    assert_eq!(plan.work, [(key(2), 1), (key(3), 1), (key(1), 14)]);
    assert!(plan.admit.is_empty(), "no token is left for it");
}

#[test]
fn a_long_prompt_is_computed_in_chunks_and_leaves_the_rest_to_the_next() {
    let plan = plan(&[opening(1, 10)], &[asking(2, 50, 4)], ROOM);
    assert_eq!(plan.work, [(key(1), 10), (key(2), 6)]);
    assert_eq!(plan.admit, [key(2)]);
}

#[test]
fn the_youngest_gives_its_blocks_to_the_oldest() {
    let mut running = [generating(1), generating(2), generating(3)];
    running[0].growth = 1;
    running[1].growth = 1;
    let room = Room {
        free_blocks: 0,
        ..ROOM
    };
    let plan = plan(&running, &[asking(4, 1, 1)], room);
    assert_eq!(plan.preempt, [key(3), key(2)]);
    assert_eq!(plan.work, [(key(1), 1)]);
    assert!(
        plan.admit.is_empty(),
        "nothing is admitted while something is preempted"
    );
}

#[test]
fn the_last_answer_standing_preempts_itself_rather_than_wait_for_ever() {
    let mut running = [generating(1)];
    running[0].growth = 1;
    let plan = plan(
        &running,
        &[],
        Room {
            free_blocks: 0,
            ..ROOM
        },
    );
    assert_eq!(plan.preempt, [key(1)]);
    assert!(plan.work.is_empty());
}

#[test]
fn scoring_is_bounded_by_rows_of_logits() {
    let mut answer = opening(1, 12);
    answer.scoring = true;
    assert_eq!(plan(&[answer], &[], ROOM).work, [(key(1), 4)]);
}

#[test]
fn a_score_without_room_is_passed_by_what_needs_none() {
    let mut running = opening(1, 12);
    running.scoring = true;
    let score = Waiting {
        scoring: true,
        ..asking(2, 9, 1)
    };
    let plan = plan(&[running], &[score, asking(3, 5, 1)], ROOM);
    assert_eq!(plan.admit, [key(3)]);
    assert!(plan.overtaken.is_empty());
}

#[test]
fn followers_wait_while_another_answer_computes_the_prompt() {
    let lead = Waiting {
        follows: true,
        ..asking(1, 8, 2)
    };
    let follow = Waiting {
        key: Key {
            request: 1,
            answer: 1,
        },
        ..lead.clone()
    };
    let other = asking(2, 1, 1);
    let plan = plan(&[], &[lead, follow, other], ROOM);
    assert_eq!(plan.admit, [key(1), key(2)]);
    assert!(
        plan.overtaken.is_empty(),
        "a follower is not overtaken: it has nothing to do yet"
    );
}

#[test]
fn an_answer_that_does_not_fit_is_overtaken_only_so_often() {
    let room = Room {
        free_blocks: 10,
        rows: 100,
        tokens: 100,
        ..ROOM
    };
    let running = [generating(1)];
    let mut large = asking(2, 30, 20);
    for passed in 0..OVERTAKINGS {
        let plan = plan(
            &running,
            &[large.clone(), asking(100 + u64::from(passed), 1, 1)],
            room,
        );
        assert_eq!(plan.admit.len(), 1);
        assert_eq!(plan.overtaken, [large.key]);
        large.overtaken += 1;
    }
    assert!(
        plan(&running, &[large.clone(), asking(200, 1, 1)], room)
            .admit
            .is_empty()
    );
    let freed = Room {
        free_blocks: 21,
        ..room
    };
    assert_eq!(
        numbers(&plan(&running, &[large, asking(200, 1, 1)], freed).admit)[0],
        2
    );
}

#[test]
fn admission_leaves_a_block_for_each_running_answer_to_grow() {
    let running = [generating(1), generating(2)];
    let room = Room {
        free_blocks: 4,
        ..ROOM
    };
    assert!(plan(&running, &[asking(3, 8, 3)], room).admit.is_empty());
    assert_eq!(plan(&running, &[asking(3, 8, 2)], room).admit, [key(3)]);
}

prop_compose! {
    fn backlog()(
        running in prop::collection::vec((1usize..40, 0usize..2, 1usize..6, any::<bool>()), 0..8),
        waiting in prop::collection::vec((1usize..60, 1usize..12, any::<bool>(), 0u32..10, any::<bool>(), 1u32..4), 0..8),
        room in (1usize..10, 0usize..40, 1usize..12, 0usize..30),
    ) -> (Vec<Running>, Vec<Waiting>, Room) {
        let rows = room.0.max(running.len());
        let room = Room { rows, tokens: rows + room.1, scored: room.2, free_blocks: room.3 };
        let running = running.into_iter().zip(0..).map(|((pending, growth, exclusive, scoring), request)| {
            let generates = pending % 2 == 0;
            Running {
                key: key(request),
                pending: if generates { 1 } else { pending },
                opening: !generates,
                growth: if generates { growth } else { 0 },
                exclusive,
                scoring: scoring && !generates,
            }
        }).collect();
        let waiting = waiting.into_iter().zip(100..).flat_map(|((pending, blocks, follows, overtaken, scoring, n), request)| {
            (0..n).map(move |answer| Waiting {
                key: Key { request, answer }, pending, blocks, follows: follows && n > 1, overtaken, scoring: scoring && answer == 0,
            })
        }).collect();
        (running, waiting, room)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_plan_keeps_to_rows_tokens_and_blocks((running, waiting, room) in backlog()) {
        let plan = plan(&running, &waiting, room);
        let of = |key: &Key| running.iter().find(|a| a.key == *key);
        let asked = |key: &Key| waiting.iter().find(|a| a.key == *key);

        prop_assert!(plan.work.iter().map(|w| w.1).sum::<usize>() <= room.tokens);
        let scored = plan.work.iter().filter(|(k, _)| of(k).map_or_else(|| asked(k).unwrap().scoring, |a| a.scoring));
        prop_assert!(scored.map(|w| w.1).sum::<usize>() <= room.scored);
        prop_assert!(running.len() - plan.preempt.len() + plan.admit.len() <= room.rows);

        let grown: usize = plan.work.iter().filter_map(|(k, _)| of(k)).map(|a| a.growth).sum();
        let taken: usize = plan.admit.iter().map(|k| asked(k).unwrap().blocks).sum();
        let freed: usize = plan.preempt.iter().map(|k| of(k).unwrap().exclusive).sum();
        prop_assert!(grown + taken <= room.free_blocks + freed);

        let mut once: Vec<Key> = plan.work.iter().map(|w| w.0).collect();
        once.sort_unstable();
        once.dedup();
        prop_assert_eq!(once.len(), plan.work.len(), "each answer works once");
        for (key, tokens) in &plan.work {
            let pending = of(key).map_or_else(|| asked(key).unwrap().pending, |a| a.pending);
            prop_assert!((1..=pending).contains(tokens));
            prop_assert!(!plan.preempt.contains(key));
        }
    }

    #[test]
    fn every_generating_answer_goes_on_or_is_preempted_youngest_first((running, waiting, room) in backlog()) {
        let plan = plan(&running, &waiting, room);
        // One last token of a prompt that is scored may have to wait for room among the logits; it does not generate yet.
        for answer in running.iter().filter(|a| !a.opening) {
            prop_assert!(plan.work.contains(&(answer.key, 1)) || plan.preempt.contains(&answer.key));
        }
        let youngest: Vec<Key> = running.iter().rev().take(plan.preempt.len()).map(|a| a.key).collect();
        prop_assert_eq!(&plan.preempt, &youngest);
        prop_assert!(plan.preempt.is_empty() || plan.admit.is_empty());
    }

    #[test]
    fn nobody_is_passed_beyond_the_bound_or_without_a_note((running, waiting, room) in backlog()) {
        let plan = plan(&running, &waiting, room);
        let Some(last) = plan.admit.iter().max() else { return Ok(()) };
        for answer in waiting.iter().filter(|a| a.key < *last && !plan.admit.contains(&a.key)) {
            // Later answers of a request wait for their first, so it is the first that is noted.
            let noted = plan.overtaken.iter().any(|k| k.request == answer.key.request);
            // Scores may wait for room that running answers take, which is not held against those behind them.
            let unscored = waiting.iter().any(|a| a.key.request == answer.key.request && a.scoring);
            prop_assert!(noted || answer.follows || unscored, "{:?} was passed", answer.key);
            prop_assert!(!plan.overtaken.contains(&answer.key) || answer.overtaken < OVERTAKINGS);
        }
    }

    #[test]
    fn there_is_always_progress((running, waiting, room) in backlog()) {
        let plan = plan(&running, &waiting, room);
        prop_assert!(running.is_empty() || !plan.work.is_empty() || !plan.preempt.is_empty());
        if let (true, Some(first)) = (running.is_empty(), waiting.first()) {
            prop_assert!(first.blocks > room.free_blocks || plan.admit.contains(&first.key));
        }
    }
}
