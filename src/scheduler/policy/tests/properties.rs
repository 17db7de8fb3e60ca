//! What holds for every backlog.

use proptest::prelude::*;

use super::super::plan;
use super::*;

fn party() -> impl Strategy<Value = Party> {
    (0u64..3, 0u64..3).prop_map(|(tenant, adapter)| Party { tenant, adapter })
}

/// What was computed for each tenant and adapter.
fn ledger(spent: &[(Party, u64)]) -> Ledger {
    let mut ledger = Ledger::default();
    for &(party, tokens) in spent {
        ledger.enter(party, Weights::default());
        ledger.charge(party, tokens);
    }
    ledger
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
        running in prop::collection::vec((1usize..40, 0usize..2, 1usize..6, any::<bool>(), party(), -1i32..2, block()), 0..8),
        waiting in prop::collection::vec(((1usize..60, 1usize..12, any::<bool>(), 0u32..10, any::<bool>(), 1u32..4), (party(), -1i32..2, 0u32..3, block())), 0..8),
        room in (1usize..10, 0usize..40, 1usize..12, 0usize..30),
        spent in prop::collection::vec((party(), 0u64..300), 0..6),
    ) -> (Vec<Running>, Vec<Waiting>, Room, Vec<(Party, u64)>) {
        let rows = room.0.max(running.len());
        let room = Room { rows, tokens: rows + room.1, scored: room.2, free_blocks: room.3 };
        let running = running.into_iter().zip(0..).map(|((pending, growth, exclusive, scoring, party, priority, next), request)| {
            let generates = pending % 2 == 0;
            Running {
                key: key(request),
                pending: if generates { 1 } else { pending },
                opening: !generates,
                growth: if generates { growth } else { 0 },
                exclusive,
                scoring: scoring && !generates,
                party,
                priority,
                next: next.filter(|_| !generates),
            }
        }).collect();
        let waiting = waiting.into_iter().zip(100..).flat_map(|(((pending, blocks, follows, overtaken, scoring, n), (party, priority, minutes, next)), request)| {
            (0..n).map(move |answer| Waiting {
                key: Key { request, answer }, pending, blocks, follows: follows && n > 1, overtaken, passed: 0,
                scoring: scoring && answer == 0, party, priority, minutes, next,
            })
        }).collect();
        (running, waiting, room, spent)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_plan_keeps_to_rows_tokens_and_blocks((running, waiting, room, spent) in backlog()) {
        let plan = plan(&running, &waiting, room, &ledger(&spent));
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
    fn every_generating_answer_goes_on_or_is_preempted_youngest_first((running, waiting, room, spent) in backlog()) {
        let plan = plan(&running, &waiting, room, &ledger(&spent));
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
    fn no_request_is_passed_beyond_the_bound_or_without_a_note((running, waiting, room, spent) in backlog()) {
        let plan = plan(&running, &waiting, room, &ledger(&spent));
        // First answers to what needs no scores: later ones wait for their first, and scores for room that running
        // answers take.
        let free = |a: &&Waiting| a.key.answer == 0 && !a.scoring && !gains(a, &running, &waiting, &plan);
        let firsts = || waiting.iter().filter(free);
        let level = |a: &Waiting| (!a.is_urgent(), a.priority, a.minutes);
        for passed in firsts().filter(|a| !plan.admit.contains(&a.key)) {
            for other in firsts().filter(|a| a.key > passed.key && a.party == passed.party && level(a) == level(passed)) {
                prop_assert!(
                    !plan.admit.contains(&other.key) || plan.overtaken.contains(&passed.key),
                    "{:?} passed {:?}", other.key, passed.key
                );
            }
            prop_assert!(!plan.overtaken.contains(&passed.key) || passed.overtaken < OVERTAKINGS);
        }
    }

    #[test]
    fn who_was_given_less_comes_before_who_was_given_more((running, waiting, room, spent) in backlog()) {
        let ledger = ledger(&spent);
        let plan = plan(&running, &waiting, room, &ledger);
        let shares = Shares::of(&ledger, &running, &waiting);
        let admitted = |a: &&Waiting| plan.admit.contains(&a.key);
        for answer in waiting.iter().filter(|a| a.key.answer == 0 && !a.scoring && !gains(a, &running, &waiting, &plan)) {
            // No answer of the tenant was admitted, so its standing is still what it was.
            let served = waiting.iter().filter(admitted).any(|a| a.party.tenant == answer.party.tenant);
            if served || plan.overtaken.contains(&answer.key) {
                continue;
            }
            let before = shares.rank(answer);
            for other in waiting.iter().filter(admitted) {
                prop_assert!(shares.rank(other) <= before, "{:?} passed {:?}", other.key, answer.key);
            }
        }
    }

    #[test]
    fn of_one_tenant_the_better_priority_comes_first((running, waiting, room, spent) in backlog()) {
        let plan = plan(&running, &waiting, room, &ledger(&spent));
        // The best that waits cannot be risen to by waiting alone.
        let best = |tenant: u64| waiting.iter().filter(|a| a.party.tenant == tenant).map(|a| a.priority).min();
        let level = |a: &Waiting| (a.priority - a.minutes as i32).max(best(a.party.tenant).unwrap_or(0));
        for answer in waiting.iter().filter(|a| a.key.answer == 0 && !a.scoring && !gains(a, &running, &waiting, &plan)) {
            let left = !plan.admit.contains(&answer.key) && !plan.overtaken.contains(&answer.key);
            let worse = |a: &&Waiting| a.party.tenant == answer.party.tenant && level(a) > level(answer) && !a.is_urgent();
            prop_assert!(!left || !waiting.iter().filter(worse).any(|a| plan.admit.contains(&a.key)));
        }
    }

    #[test]
    fn a_row_is_taken_only_from_who_has_more_for_who_has_none((running, waiting, room, spent) in backlog()) {
        let plan = plan(&running, &waiting, room, &ledger(&spent));
        let Some(key) = plan.displace else { return Ok(()) };
        prop_assert!(plan.admit.is_empty() && plan.preempt.is_empty() && running.len() == room.rows);
        prop_assert!(plan.work.iter().all(|(worker, _)| *worker != key));
        let victim = running.iter().find(|a| a.key == key).unwrap();
        let rows = |same: &dyn Fn(&Running) -> bool| running.iter().filter(|a| same(a)).count();
        let has_more = rows(&|a| a.party.tenant == victim.party.tenant) > 1;
        let has_none = |w: &Waiting| rows(&|a| a.party == w.party) == 0 || rows(&|a| a.key.request == w.key.request) == 0;
        prop_assert!(has_more && waiting.iter().any(has_none));
        let without = |a: &&Running| a.key != key;
        let running: Vec<Running> = running.iter().filter(without).cloned().collect();
        let back = Waiting { key, priority: victim.priority, party: victim.party, ..asking(0, victim.pending, 1) };
        let mut waiting: Vec<Waiting> = waiting.iter().cloned().chain([back]).collect();
        waiting.sort_by_key(|a| a.key);
        let room = Room { tokens: 1000, free_blocks: 1000, scored: 1000, ..room };
        let next = super::super::plan(&running, &waiting, room, &ledger(&spent));
        prop_assert!(!next.admit.contains(&key), "the row goes to whom it was taken for");
    }

    #[test]
    fn there_is_always_progress((running, waiting, room, spent) in backlog()) {
        let plan = plan(&running, &waiting, room, &ledger(&spent));
        prop_assert!(running.is_empty() || !plan.work.is_empty() || !plan.preempt.is_empty() || plan.displace.is_some());
        if running.is_empty() && !waiting.is_empty() {
            prop_assert!(!plan.admit.is_empty() || waiting.iter().any(|a| a.blocks > room.free_blocks));
        }
    }
}
