use super::ledger::Weights;
use super::*;
use crate::scheduler::prefix::numbered;

mod fair;
mod properties;

/// Before any tokens were computed for any tenant.
fn plan(running: &[Running], waiting: &[Waiting], room: Room) -> Plan {
    super::plan(running, waiting, room, &Ledger::default())
}

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
        party: Party::default(),
        priority: 0,
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
        passed: 0,
        scoring: false,
        party: Party::default(),
        priority: 0,
        minutes: 0,
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
fn no_request_is_admitted_for_too_few_tokens_to_be_worth_it() {
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
