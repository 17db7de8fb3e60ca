//! Which answer comes first, and what each tenant and adapter gets in the long run.

use super::super::ledger::GENERATED;
use super::super::plan as plan_with;
use super::*;

fn of(tenant: u64, adapter: u64) -> Party {
    Party { tenant, adapter }
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
        party: of(0, 7),
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
    let asks = |request, adapter| Waiting {
        party: of(0, adapter),
        ..asking(request, 1, 1)
    };
    let mut running = vec![generating(1), generating(2)];
    running[1].party = of(0, 1);
    let waiting = [
        asks(10, 0),
        asks(11, 0),
        asks(12, 1),
        asks(13, 2),
        asks(14, 2),
    ];
    assert_eq!(
        numbers(&plan(&running, &waiting, ROOM).admit),
        [13, 10, 12, 14, 11]
    );
}

#[test]
fn tenants_come_before_adapters_and_priorities() {
    let mut ledger = Ledger::default();
    let given = [(of(1, 0), 100), (of(2, 0), 50), (of(2, 1), 0)];
    for (party, _) in given {
        ledger.enter(party, Weights::default());
    }
    for (party, tokens) in given {
        ledger.charge(party, tokens);
    }
    let asks = |request, party, priority| Waiting {
        party,
        priority,
        ..asking(request, 4, 1)
    };
    let waiting = [
        asks(1, of(1, 0), -100),
        asks(2, of(2, 0), 0),
        asks(3, of(2, 1), 0),
        asks(4, of(2, 0), -1),
    ];
    let plan = plan_with(
        &[],
        &waiting,
        Room {
            tokens: 100,
            ..ROOM
        },
        &ledger,
    );
    assert_eq!(numbers(&plan.admit), [4, 3, 2, 1]);
}

#[test]
fn waiting_for_a_minute_is_worth_a_level_up_to_the_best_that_waits() {
    let asks = |request, priority, minutes| Waiting {
        priority,
        minutes,
        ..asking(request, 1, 1)
    };
    let first = |waiting: &[Waiting]| plan(&[], waiting, Room { rows: 1, ..ROOM }).admit[0].request;
    assert_eq!(first(&[asks(1, 2, 1), asks(2, 0, 0)]), 2);
    assert_eq!(first(&[asks(1, 2, 2), asks(2, 0, 0)]), 1);
    assert_eq!(first(&[asks(1, 0, 0), asks(2, 0, 90)]), 1, "no further");
}

#[test]
fn a_better_priority_does_not_lose_its_row_to_a_worse_one() {
    let rows = Room { rows: 4, ..ROOM };
    let mut running = crowd(4);
    running.iter_mut().for_each(|answer| answer.priority = -1);
    let newcomer = asking(2, 5, 1);
    assert_eq!(
        plan(&running, std::slice::from_ref(&newcomer), rows).displace,
        None
    );
    let newcomer = Waiting {
        party: of(1, 0),
        ..newcomer
    };
    assert!(plan(&running, &[newcomer], rows).displace.is_some());
}

/// A machine whose steps are what `plan` says, where every party always has requests waiting.
struct Machine {
    ledger: Ledger,
    parties: Vec<(Party, Weights)>,
    running: Vec<(Running, usize)>,
    waiting: Vec<Waiting>,
    next: u64,
    /// What was computed for each party, at its cost.
    given: Vec<u64>,
}

impl Machine {
    fn new(parties: &[(Party, Weights)]) -> Self {
        let mut machine = Self {
            ledger: Ledger::default(),
            parties: parties.to_vec(),
            running: Vec::new(),
            waiting: Vec::new(),
            next: 0,
            given: vec![0; parties.len()],
        };
        for party in 0..parties.len() {
            (0..6).for_each(|_| machine.ask(party));
        }
        machine
    }

    fn ask(&mut self, party: usize) {
        let (who, weights) = self.parties[party];
        self.ledger.enter(who, weights);
        self.next += 1;
        let length = 1 + (self.next * 7919 % 61) as usize;
        self.waiting.push(Waiting {
            party: who,
            ..asking(self.next, length, 1)
        });
    }

    fn step(&mut self, room: Room) {
        self.running.sort_by_key(|(answer, _)| answer.key);
        self.waiting.sort_by_key(|answer| answer.key);
        let view: Vec<Running> = self.running.iter().map(|(a, _)| a.clone()).collect();
        let plan = plan_with(&view, &self.waiting, room, &self.ledger);
        for key in &plan.admit {
            let at = self.waiting.iter().position(|a| a.key == *key).unwrap();
            let asked = self.waiting.remove(at);
            let answer = Running {
                party: asked.party,
                ..opening(key.request, asked.pending)
            };
            self.running
                .push((answer, 1 + (key.request * 31 % 29) as usize));
        }
        for answer in &mut self.waiting {
            answer.passed += plan.passing(answer.key);
        }
        for (key, tokens) in &plan.work {
            let at = self
                .running
                .iter()
                .position(|(a, _)| a.key == *key)
                .unwrap();
            let (answer, left) = &mut self.running[at];
            let who = answer.party;
            let mut cost = 0;
            if answer.opening {
                cost += *tokens as u64;
                answer.pending -= tokens;
            }
            if !answer.opening || answer.pending == 0 {
                cost += GENERATED;
                *left -= 1;
                (answer.opening, answer.pending) = (false, 1);
            }
            let party = self.parties.iter().position(|(p, _)| *p == who).unwrap();
            self.ledger.charge(who, cost);
            self.given[party] += cost;
            if *left == 0 {
                self.running.remove(at);
                self.ledger.leave(who);
                self.ask(party);
            }
        }
    }
}

#[test]
fn shares_come_to_be_as_the_weights_are() {
    let weights = |tenant, adapter| Weights { tenant, adapter };
    // Two tenants, one with twice the weight of the other and two adapters, of which one has three times the other's.
    let parties = [
        (of(1, 0), weights(1.0, 1.0)),
        (of(2, 1), weights(2.0, 1.0)),
        (of(2, 2), weights(2.0, 3.0)),
    ];
    let room = Room {
        rows: 6,
        tokens: 40,
        free_blocks: 1000,
        ..ROOM
    };
    let mut machine = Machine::new(&parties);
    (0..4000).for_each(|_| machine.step(room));
    let all: u64 = machine.given.iter().sum();
    let shares: Vec<f64> = machine
        .given
        .iter()
        .map(|&given| given as f64 / all as f64)
        .collect();
    for (share, expected) in shares.iter().zip([1.0 / 3.0, 1.0 / 6.0, 0.5]) {
        assert!((share - expected).abs() < 0.02, "{shares:?}");
    }
}

#[test]
fn an_endless_stream_of_newcomers_keeps_no_request_waiting_for_ever() {
    let mut machine = Machine::new(&[(of(0, 0), Weights::default())]);
    machine.ledger.charge(of(0, 0), 1_000_000);
    let room = Room {
        rows: 1,
        free_blocks: 1000,
        ..ROOM
    };
    let first = machine.waiting[0].key;
    for newcomer in 1..50 * u64::from(PASSES) {
        if machine
            .running
            .iter()
            .any(|(answer, _)| answer.key == first)
        {
            return;
        }
        if machine.waiting.len() < 20 {
            machine.parties.push((of(newcomer, 0), Weights::default()));
            machine.given.push(0);
            machine.ask(machine.parties.len() - 1);
        }
        machine.step(room);
    }
    panic!("it waits for ever");
}
