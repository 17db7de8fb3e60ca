use super::*;
use crate::adapter::peft;
use crate::adapter::testing::{fit, sites, specimen};

fn file(adapter: &Adapter, stamp: &str, fit: &Fit<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(adapter, stamp, fit, &mut bytes).unwrap();
    bytes
}

fn read_from(bytes: &[u8], origin: Origin<'_>, fit: &Fit<'_>) -> Result<Adapter, Unusable> {
    read(&mut &bytes[..], bytes.len() as u64, origin, fit)
}

#[test]
fn an_adapter_comes_back_bit_for_bit() {
    let sites = sites(2);
    for precision in [Precision::Exact, Precision::Bf16] {
        let fit = Fit {
            precision,
            ..fit(&sites)
        };
        let adapter = peft::read(&specimen(2, 1), &fit).unwrap();
        let origin = Origin {
            generation: adapter.generation(),
            stamp: "s",
        };
        let again = read_from(&file(&adapter, "s", &fit), origin, &fit).unwrap();
        assert_eq!(
            (
                again.generation(),
                again.kind(),
                again.rank(),
                again.bytes()
            ),
            (
                adapter.generation(),
                "lora",
                adapter.rank(),
                adapter.bytes()
            )
        );
        assert_eq!(again.sites().count(), 14);
        for ((site, read), (_, packed)) in again.low_ranks().zip(adapter.low_ranks()) {
            assert_eq!(read.form(), packed.form(), "{site:?}");
            assert_eq!((read.a(), read.b()), (packed.a(), packed.b()), "{site:?}");
        }
    }
}

#[test]
fn a_copy_in_another_layout_is_stale_whatever_form_its_products_have() {
    let sites = sites(2);
    let fit = fit(&sites);
    let adapter = peft::read(&specimen(2, 1), &fit).unwrap();
    let mut bytes = file(&adapter, "s", &fit);
    let mut replace = |from: &str, to: &str| {
        let mut places = bytes.windows(from.len());
        let at = places.position(|some| some == from.as_bytes()).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    };
    replace(&format!("\"layout\":{LAYOUT}"), "\"layout\":1");
    replace("\"numbers\"", "\"unknown\"");
    let origin = Origin {
        generation: adapter.generation(),
        stamp: "s",
    };
    let read = read_from(&bytes, origin, &fit);
    assert!(matches!(read, Err(Unusable::Stale("layout"))), "{read:?}");
}

#[test]
fn whatever_is_not_as_it_was_makes_the_copy_stale() {
    let sites = sites(2);
    let fit = fit(&sites);
    let adapter = peft::read(&specimen(2, 1), &fit).unwrap();
    let bytes = file(&adapter, "s", &fit);
    let origin = Origin {
        generation: adapter.generation(),
        stamp: "s",
    };
    let stale = |origin, fit: Fit<'_>| match read_from(&bytes, origin, &fit) {
        Err(Unusable::Stale(what)) => what,
        other => panic!("{other:?}"),
    };
    let moved = Origin {
        stamp: "t",
        ..origin
    };
    assert_eq!(stale(moved, fit), "source");
    let generation = Generation::new([1; 32]);
    assert_eq!(
        stale(
            Origin {
                generation,
                ..origin
            },
            fit
        ),
        "generation"
    );
    let base_digest = [9; 32];
    assert_eq!(stale(origin, Fit { base_digest, ..fit }), "base");
    let precision = Precision::Bf16;
    assert_eq!(stale(origin, Fit { precision, ..fit }), "precision");
    assert_eq!(stale(origin, Fit { max_rank: 3, ..fit }), "shape");
    let fewer = Fit {
        sites: &sites[..7],
        ..fit
    };
    assert_eq!(stale(origin, fewer), "shape");
}

#[test]
fn damage_anywhere_is_noticed() {
    let sites = sites(1);
    let fit = fit(&sites);
    let adapter = peft::read(&specimen(1, 1), &fit).unwrap();
    let bytes = file(&adapter, "s", &fit);
    let origin = Origin {
        generation: adapter.generation(),
        stamp: "s",
    };
    assert!(read_from(&bytes, origin, &fit).is_ok());
    for at in (0..bytes.len()).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        assert!(read_from(&damaged, origin, &fit).is_err(), "byte {at}");
    }
    for length in (0..bytes.len()).step_by(97) {
        assert!(
            read_from(&bytes[..length], origin, &fit).is_err(),
            "{length} bytes"
        );
    }
    let longer = [&bytes[..], b"x"].concat();
    assert!(read_from(&longer, origin, &fit).is_err());
}
