use super::*;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;

const GENERATES: Coming = Coming {
    generating: true,
    opening: false,
    crowded: false,
};

fn wait_for_training(turns: &Turns) {
    while !turns.training_waits() {
        std::thread::yield_now();
    }
}

#[test]
fn training_waits_while_serving_holds_its_turn() {
    let turns = Turns::default();
    // Nothing to wait for.
    turns.give_way();

    let step = turns.serving(GENERATES);
    let (passed, seen) = mpsc::channel();
    let trainer = std::thread::spawn({
        let turns = turns.clone();
        move || {
            turns.give_way();
            passed.send(()).ok();
        }
    });
    wait_for_training(&turns);
    assert!(
        seen.try_recv().is_err(),
        "training went on during a serving step"
    );
    drop(step);
    seen.recv().expect("training goes on once serving is done");
    trainer.join().unwrap();
    assert_eq!(turns.shares().yields, 1);
}

#[test]
fn training_that_waited_is_at_it_from_the_end_of_its_wait() {
    let turns = Turns::default();
    let step = turns.serving(GENERATES);
    let ended = std::thread::scope(|scope| {
        scope.spawn(|| turns.give_way());
        wait_for_training(&turns);
        let ended = turns.0.now();
        drop(step);
        ended
    });
    assert!(turns.0.trained.load(Ordering::Relaxed) >= ended);
}

#[test]
fn training_goes_on_waiting_between_two_steps() {
    let turns = Turns::default();
    let step = turns.serving(GENERATES);
    let passed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            turns.give_way();
            passed.store(true, Ordering::SeqCst);
        });
        wait_for_training(&turns);
        step.end(true);
        std::thread::sleep(Duration::from_millis(20));
        assert!(!passed.load(Ordering::SeqCst), "nothing was due");
        turns.idle();
    });
    assert!(passed.into_inner());
}

#[test]
fn steps_that_follow_at_once_do_not_shut_training_out() {
    let turns = Turns::default();
    let first = turns.serving(GENERATES);
    let trainer = std::thread::spawn({
        let turns = turns.clone();
        move || (0..5).for_each(|_| turns.tile(|| ()))
    });
    wait_for_training(&turns);
    first.end(true);
    let mut given = Duration::ZERO;
    while !trainer.is_finished() {
        let step = turns.serving(GENERATES);
        given += step.given();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
        step.end(true);
    }
    trainer.join().unwrap();
    assert!(!given.is_zero());
    turns.idle();
}

#[test]
fn where_no_job_trains_nothing_comes_before_a_step() {
    let turns = Turns::default();
    for _ in 0..200 {
        let step = turns.serving(GENERATES);
        assert_eq!(step.given(), Duration::ZERO);
        step.end(true);
    }
    assert_eq!(turns.shares().yields, 0);
    assert_eq!(turns.shares().training, 0.0);
}

#[test]
fn a_tile_is_not_begun_where_it_would_outlast_its_slice() {
    let turns = Turns::default();
    let table = &turns.0;
    table.tile.store(400_000, Ordering::Relaxed);
    table.gate.store(1_000_000, Ordering::SeqCst);
    assert!(table.is_free(700_000));
    assert!(!table.is_free(900_000));
    table.gate.store(OPEN, Ordering::SeqCst);
    assert!(table.is_free(u64::MAX / 2));
}

#[test]
fn work_beside_serving_rests_only_while_a_step_runs() {
    let (turns, worked) = (Turns::default(), Duration::from_millis(1));
    assert_eq!(turns.rest(worked), Duration::ZERO);
    let step = turns.serving(GENERATES);
    assert_eq!(turns.rest(worked), worked * REST_PER_WORK);
    assert_eq!(turns.rest(Duration::from_secs(60)), LONGEST_REST);
    drop(step);
    turns.stand_back(Duration::from_secs(60));
}

#[test]
fn two_serving_turns_both_have_to_end() {
    let turns = Turns::default();
    let (first, second) = (turns.serving(GENERATES), turns.serving(GENERATES));
    drop(first);
    assert!(!turns.0.is_free(turns.0.now()));
    turns.idle();
    assert!(!turns.0.is_free(turns.0.now()), "a step still runs");
    drop(second);
    turns.give_way();
}
