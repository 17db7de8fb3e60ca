use super::*;
use crate::device::Coming;

#[test]
fn every_tile_runs_exactly_once() {
    for tiles in [0, 1, 2, 3, 64, 1_000] {
        let counts: Vec<AtomicUsize> = (0..tiles).map(|_| AtomicUsize::new(0)).collect();
        for_each(tiles, |i| {
            counts[i].fetch_add(1, Ordering::Relaxed);
        });
        assert!(
            counts
                .iter()
                .all(|count| count.load(Ordering::Relaxed) == 1),
            "{tiles}"
        );
    }
}

#[test]
fn rows_are_cut_without_gap_or_overlap() {
    let mut out = vec![0usize; 7 * 5];
    over_rows(&mut out, 5, 2, |rows, part| {
        assert_eq!(part.len(), rows.len() * 5);
        for (at, value) in part.iter_mut().enumerate() {
            *value += rows.start * 5 + at;
        }
    });
    assert_eq!(out, (0..35).collect::<Vec<_>>());
}

#[test]
fn parts_of_several_arrays_belong_together() {
    let (mut a, mut b) = (vec![1.0; 23], vec![2.0; 23]);
    over_parts([&mut a, &mut b], 5, |start, [a, b]| {
        for (at, (a, b)) in a.iter_mut().zip(b).enumerate() {
            (*a, *b) = (*a + (start + at) as f32, *b + *a);
        }
    });
    let ramp = |from: f32| (0..23).map(|i| from + i as f32).collect::<Vec<_>>();
    assert_eq!((a, b), (ramp(1.0), vec![3.0; 23]));
}

#[test]
fn a_loop_within_a_loop_still_completes() {
    let total = AtomicUsize::new(0);
    for_each(8, |_| {
        for_each(8, |_| {
            total.fetch_add(1, Ordering::Relaxed);
        });
    });
    assert_eq!(total.into_inner(), 64);
}

#[test]
fn loops_from_many_threads_all_complete() {
    let total = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..200 {
                    for_each(5, |_| {
                        total.fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
        }
    });
    assert_eq!(total.into_inner(), 6_000);
}

#[test]
fn a_panic_in_a_tile_reaches_the_caller_and_the_pool_lives_on() {
    let outcome = catch_unwind(|| for_each(16, |i| assert_ne!(i, 7, "seven")));
    assert!(outcome.is_err());
    let sum = AtomicUsize::new(0);
    for_each(16, |i| {
        sum.fetch_add(i, Ordering::Relaxed);
    });
    assert_eq!(sum.into_inner(), 120);
}

#[test]
fn training_tiles_wait_for_serving_and_serving_tiles_do_not() {
    let turns = Turns::default();
    let step = turns.serving(Coming::default());
    for_each(4, |_| {});
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            within(Class::Training(turns.clone()), || for_each(4, |_| {}));
            done.store(true, Ordering::SeqCst);
        });
        while !turns.training_waits() {
            std::thread::yield_now();
        }
        assert!(!done.load(Ordering::SeqCst));
        drop(step);
    });
    assert!(done.into_inner());
    assert!(!trains(), "the class ends with its closure");
}

#[test]
fn what_is_done_beside_serving_starts_no_threads() {
    let here = std::thread::current().id();
    within(Class::Beside(Turns::default()), || {
        let seen = Mutex::new(Vec::new());
        for_each(64, |i| {
            assert_eq!(std::thread::current().id(), here);
            seen.lock().unwrap().push(i);
        });
        assert_eq!(seen.into_inner().unwrap(), (0..64).collect::<Vec<_>>());
    });
}

#[test]
fn jobs_that_train_keep_to_a_thread_where_there_are_not_two_for_each() {
    let of = |jobs, threads| Entry::of_training(jobs, threads);
    assert_eq!([of(0, 2), of(1, 1), of(1, 64)], [Entry::IfFree; 3]);
    assert_eq!([of(2, 2), of(2, 3), of(9, 16)], [Entry::Never; 3]);
    assert_eq!([of(2, 4), of(8, 16)], [Entry::InTurn; 2]);
}

#[test]
fn a_loop_that_waits_for_its_turn_gets_it() {
    let crew = Crew::start("turns", 1);
    let done = AtomicUsize::new(0);
    let tile = |_: usize| {
        done.fetch_add(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..200 {
                    crew.run(5, &tile, &std::thread::yield_now, Entry::InTurn);
                }
            });
        }
    });
    assert_eq!(done.load(Ordering::Relaxed), 3 * 200 * 5);
}
