use proptest::prelude::*;

use super::*;
use crate::scheduler::prefix::numbered;

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
        party: 0,
        next: None,
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
        party: 0,
        next: None,
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
    let plan = plan(&running, &[], ROOM);
    assert_eq!(plan.work, [(key(2), 1), (key(3), 1), (key(1), 14)]);
}

#[test]
fn a_long_prompt_is_computed_in_chunks_and_leaves_the_rest_to_the_next() {
    let plan = plan(&[opening(1, 6)], &[asking(2, 50, 4)], ROOM);
    assert_eq!(plan.work, [(key(1), 6), (key(2), 10)]);
    assert_eq!(plan.admit, [key(2)]);
}

#[test]
fn a_short_prompt_is_computed_beside_a_long_one_that_came_first() {
    let running = [generating(1), opening(2, 400)];
    let room = Room { tokens: 65, ..ROOM };
    let plan = plan(&running, &[asking(3, 20, 2)], room);
    assert_eq!(plan.admit, [key(3)]);
    assert_eq!(plan.work, [(key(1), 1), (key(2), 44), (key(3), 20)]);
}

#[test]
fn nobody_is_admitted_for_too_few_tokens_to_be_worth_it() {
    let running = [opening(1, 40), opening(2, 40)];
    let plan = plan(&running, &[asking(3, 20, 2)], ROOM);
    assert!(plan.admit.is_empty());
    assert_eq!(plan.work, [(key(1), 8), (key(2), 8)]);
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

/// The answers of one request that hold every row.
fn crowd(rows: u32) -> Vec<Running> {
    let of = |answer| Running {
        key: Key { request: 1, answer },
        ..generating(1)
    };
    (0..rows).map(of).collect()
}

#[test]
fn a_newcomer_takes_a_row_from_who_holds_most_and_keeps_it() {
    let rows = Room { rows: 4, ..ROOM };
    let mut running = crowd(4);
    let newcomer = [asking(2, 5, 1)];
    let taken = plan(&running, &newcomer, rows);
    let last = running.pop().unwrap();
    assert_eq!(taken.displace, Some(last.key));
    // The next step: the row is the newcomer's, not the displaced answer's, though that one is older.
    let back = Waiting {
        key: last.key,
        ..asking(1, 30, 1)
    };
    let waiting = [back.clone(), newcomer[0].clone()];
    assert_eq!(plan(&running, &waiting, rows).admit, [key(2)]);
    // And the displaced one does not take it back.
    running.push(generating(2));
    assert_eq!(plan(&running, &[back], rows).displace, None);
}

#[test]
fn requests_that_hold_a_row_each_wait_in_order() {
    let running: Vec<Running> = (1..5).map(generating).collect();
    let rows = Room { rows: 4, ..ROOM };
    assert_eq!(plan(&running, &[asking(9, 5, 1)], rows).displace, None);
    let other = Waiting {
        party: 7,
        ..asking(9, 5, 1)
    };
    assert_eq!(
        plan(&running, &[asking(8, 5, 1), other], rows).displace,
        Some(key(4)),
        "another adapter's request comes before, and takes from the one adapter that runs"
    );
}

#[test]
fn rows_that_are_free_go_to_the_adapter_with_fewest() {
    let of = |request, party| Waiting {
        party,
        ..asking(request, 1, 1)
    };
    let mut running = vec![generating(1), generating(2)];
    running[1].party = 1;
    let waiting = [of(10, 0), of(11, 0), of(12, 1), of(13, 2), of(14, 2)];
    assert_eq!(
        numbers(&plan(&running, &waiting, ROOM).admit),
        [13, 10, 12, 14, 11]
    );
}

#[test]
fn what_one_prompt_computes_the_others_that_begin_so_wait_for() {
    let block = |number| Some(numbered(number));
    let mut running = [opening(1, 40), generating(2)];
    running[0].next = block(7);
    let begins = |request, number| Waiting {
        next: block(number),
        ..asking(request, 5, 1)
    };
    let waiting = [begins(3, 7), begins(4, 8), begins(5, 8), begins(6, 9)];
    let room = Room {
        tokens: 100,
        ..ROOM
    };
    let plan = plan(&running, &waiting, room);
    assert_eq!(numbers(&plan.admit), [4, 6]);
    assert!(plan.overtaken.is_empty(), "they gain by waiting");
}

fn block() -> impl Strategy<Value = Option<Name>> {
    prop_oneof![3 => Just(None), 1 => (0u64..3).prop_map(|number| Some(numbered(number)))]
}

/// Whether it waits for a block that another computes.
fn gains(answer: &Waiting, running: &[Running], waiting: &[Waiting], plan: &Plan) -> bool {
    let admitted = waiting
        .iter()
        .filter(|a| plan.admit.contains(&a.key) && a.key != answer.key);
    let mut coming = running
        .iter()
        .map(|a| a.next)
        .chain(admitted.map(|a| a.next));
    answer.next.is_some() && coming.any(|next| next == answer.next)
}

prop_compose! {
    fn backlog()(
        running in prop::collection::vec((1usize..40, 0usize..2, 1usize..6, any::<bool>(), 0u64..3, block()), 0..8),
        waiting in prop::collection::vec((1usize..60, 1usize..12, any::<bool>(), 0u32..10, any::<bool>(), 1u32..4, 0u64..3, block()), 0..8),
        room in (1usize..10, 0usize..40, 1usize..12, 0usize..30),
    ) -> (Vec<Running>, Vec<Waiting>, Room) {
        let rows = room.0.max(running.len());
        let room = Room { rows, tokens: rows + room.1, scored: room.2, free_blocks: room.3 };
        let running = running.into_iter().zip(0..).map(|((pending, growth, exclusive, scoring, party, next), request)| {
            let generates = pending % 2 == 0;
            Running {
                key: key(request),
                pending: if generates { 1 } else { pending },
                opening: !generates,
                growth: if generates { growth } else { 0 },
                exclusive,
                scoring: scoring && !generates,
                party,
                next: next.filter(|_| !generates),
            }
        }).collect();
        let waiting = waiting.into_iter().zip(100..).flat_map(|((pending, blocks, follows, overtaken, scoring, n, party, next), request)| {
            (0..n).map(move |answer| Waiting {
                key: Key { request, answer }, pending, blocks, follows: follows && n > 1, overtaken, scoring: scoring && answer == 0, party, next,
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
        prop_assert!(waiting.iter().all(|a| !plan.admit.contains(&a.key) || !gains(a, &running, &waiting, &plan)));

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
            let gone = plan.preempt.contains(&answer.key) || plan.displace == Some(answer.key);
            prop_assert!(plan.work.contains(&(answer.key, 1)) || gone);
        }
        let youngest: Vec<Key> = running.iter().rev().take(plan.preempt.len()).map(|a| a.key).collect();
        prop_assert_eq!(&plan.preempt, &youngest);
        prop_assert!(plan.preempt.is_empty() || plan.admit.is_empty());
    }

    #[test]
    fn nobody_is_passed_beyond_the_bound_or_without_a_note((running, waiting, room) in backlog()) {
        let plan = plan(&running, &waiting, room);
        let urgent = |a: &Waiting| a.overtaken >= OVERTAKINGS;
        // First answers to what needs no scores: later ones wait for their first, and scores for room that running
        // answers take.
        let free = |a: &&Waiting| a.key.answer == 0 && !a.scoring && !gains(a, &running, &waiting, &plan);
        let firsts = || waiting.iter().filter(free);
        for passed in firsts().filter(|a| !plan.admit.contains(&a.key)) {
            for other in firsts().filter(|a| a.key > passed.key && a.party == passed.party && urgent(a) <= urgent(passed)) {
                prop_assert!(
                    !plan.admit.contains(&other.key) || plan.overtaken.contains(&passed.key),
                    "{:?} passed {:?}", other.key, passed.key
                );
            }
            prop_assert!(!plan.overtaken.contains(&passed.key) || !urgent(passed));
        }
    }

    #[test]
    fn whose_adapter_holds_nothing_comes_before_whose_does((running, waiting, room) in backlog()) {
        let plan = plan(&running, &waiting, room);
        let holds = |party: u64| running.iter().any(|a| a.party == party);
        let admitted = |a: &&Waiting| plan.admit.contains(&a.key);
        let richer = waiting.iter().filter(admitted).any(|a| holds(a.party) && a.overtaken < OVERTAKINGS);
        for answer in waiting.iter().filter(|a| a.key.answer == 0 && !a.scoring && !holds(a.party)) {
            if gains(answer, &running, &waiting, &plan) {
                continue;
            }
            let served = waiting.iter().filter(admitted).any(|a| a.party == answer.party);
            let too_large = plan.overtaken.contains(&answer.key);
            prop_assert!(!richer || served || too_large, "{:?} was passed", answer.key);
        }
    }

    #[test]
    fn a_row_is_taken_only_from_who_has_more_for_who_has_none((running, waiting, room) in backlog()) {
        let plan = plan(&running, &waiting, room);
        let Some(key) = plan.displace else { return Ok(()) };
        prop_assert!(plan.admit.is_empty() && plan.preempt.is_empty() && running.len() == room.rows);
        prop_assert!(plan.work.iter().all(|(worker, _)| *worker != key));
        let victim = running.iter().find(|a| a.key == key).unwrap();
        let rows = |same: &dyn Fn(&Running) -> bool| running.iter().filter(|a| same(a)).count();
        let has_more = rows(&|a| a.party == victim.party) > 1 || rows(&|a| a.key.request == key.request) > 1;
        let has_none = |w: &Waiting| rows(&|a| a.party == w.party) == 0 || rows(&|a| a.key.request == w.key.request) == 0;
        prop_assert!(has_more && waiting.iter().any(has_none));
    }

    #[test]
    fn there_is_always_progress((running, waiting, room) in backlog()) {
        let plan = plan(&running, &waiting, room);
        prop_assert!(running.is_empty() || !plan.work.is_empty() || !plan.preempt.is_empty() || plan.displace.is_some());
        if running.is_empty() && !waiting.is_empty() {
            prop_assert!(!plan.admit.is_empty() || waiting.iter().any(|a| a.blocks > room.free_blocks));
        }
    }
}
