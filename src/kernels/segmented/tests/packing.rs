use half::{bf16, f16};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{bytes, numbers, pack};
use crate::kernels::segmented::{Factors, Form, LAYOUT, LowRank, Matrix, Numbers, Precision};

#[test]
fn weights_come_back_as_they_were_given_and_rounded_to_even_where_16_bits_are_wanted() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for shape @ (rank, inputs, outputs) in [(1, 1, 1), (8, 16, 64), (19, 37, 150)] {
        let given = [rank * inputs, rank * outputs].map(|count| numbers(&mut rng, count));
        let [a, b] = &given;
        let full = [bytes(a), bytes(b)];
        let [full_a, full_b] = [Matrix::F32(&full[0]), Matrix::F32(&full[1])];
        let exact = pack(shape, full_a, full_b, Precision::Exact).unwrap();
        assert_eq!((&exact.a(), &exact.b()), (a, b));

        let short = pack(shape, full_a, full_b, Precision::Bf16).unwrap();
        let rounded = |values: &[f32]| -> Vec<bf16> {
            values.iter().map(|value| bf16::from_f32(*value)).collect()
        };
        let widened =
            |values: &[bf16]| -> Vec<f32> { values.iter().map(|value| value.to_f32()).collect() };
        let (near_a, near_b) = (rounded(a), rounded(b));
        assert_eq!((short.a(), short.b()), (widened(&near_a), widened(&near_b)));
        // Half the bytes, with a row of zeros more where the rank is odd.
        let rows = rank.next_multiple_of(2) as u64;
        assert_eq!(
            2 * short.bytes() * rank as u64,
            exact.bytes() * rows,
            "rank {rank}"
        );

        let stored = [&near_a, &near_b].map(|values| {
            values
                .iter()
                .map(|value| value.to_le_bytes())
                .collect::<Vec<_>>()
        });
        let [stored_a, stored_b] = [Matrix::Bf16(&stored[0]), Matrix::Bf16(&stored[1])];
        let kept = pack(shape, stored_a, stored_b, Precision::Exact).unwrap();
        assert_eq!((kept.a(), kept.bytes()), (short.a(), short.bytes()));
        let forms = [&exact, &short, &kept].map(|packed| packed.form().numbers);
        assert_eq!(
            forms,
            [Numbers::F32, Numbers::Bf16Pairs, Numbers::Bf16],
            "stored numbers meet rows as they are"
        );
        let mixed = pack(shape, full_a, stored_b, Precision::Exact).unwrap();
        assert_eq!((&mixed.a(), mixed.b()), (a, short.b()));

        let half: Vec<f16> = a.iter().map(|value| f16::from_f32(*value)).collect();
        let half_bytes: Vec<_> = half.iter().map(|value| value.to_le_bytes()).collect();
        let wide = pack(shape, Matrix::F16(&half_bytes), full_b, Precision::Exact).unwrap();
        let want: Vec<f32> = half.iter().map(|value| value.to_f32()).collect();
        assert_eq!(wide.a(), want);
    }
}

#[test]
fn products_packed_together_are_those_packed_alone() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let shapes = [(3, 20, 70), (16, 33, 5), (1, 1, 1)];
    let values = shapes.map(|(rank, inputs, outputs)| {
        [rank * inputs, rank * outputs].map(|count| bytes(&numbers(&mut rng, count)))
    });
    let factors: Vec<_> = shapes
        .iter()
        .zip(&values)
        .map(|((rank, inputs, outputs), [a, b])| Factors {
            rank: *rank,
            inputs: *inputs,
            outputs: *outputs,
            scale: 1.0,
            a: Matrix::F32(a),
            b: Matrix::F32(b),
        })
        .collect();
    for precision in [Precision::Exact, Precision::Bf16] {
        let together = LowRank::pack(&factors, precision).unwrap();
        for (together, factors) in together.iter().zip(&factors) {
            let alone = &LowRank::pack(&[*factors], precision).unwrap()[0];
            assert_eq!((together.a(), together.b()), (alone.a(), alone.b()));
        }
    }
}

#[test]
fn a_number_out_of_bounds_is_found_wherever_it_is() {
    for len in [1, 7, 1024, 3000] {
        for at in [0, len / 2, len - 1] {
            for value in [f32::NAN, f32::NEG_INFINITY, 70000.0] {
                let mut values = vec![1.0; len];
                values[at] = value;
                let stored = bytes(&values);
                let (place, found) = Matrix::F32(&stored).first_beyond(65504.0).unwrap();
                assert_eq!((place, found.to_bits()), (at, value.to_bits()));
            }
        }
        assert_eq!(Matrix::F32(&bytes(&vec![1.0; len])).first_beyond(1.0), None);
    }
    let two = bytes(&[3.0, -4.0]);
    assert!((Matrix::F32(&two).root_mean_square() - 12.5f64.sqrt()).abs() < 1e-12);
}

#[test]
fn sizes_that_disagree_make_no_weights() {
    let made = |shape, a: usize, b: usize| {
        let (a, b) = (vec![[0; 4]; a], vec![[0; 4]; b]);
        pack(shape, Matrix::F32(&a), Matrix::F32(&b), Precision::Exact).is_some()
    };
    assert!(made((2, 3, 4), 6, 8));
    assert!(!made((2, 3, 4), 5, 8));
    assert!(!made((2, 3, 4), 6, 6));
    assert!(!made((0, 3, 4), 0, 0));
}

#[test]
fn numbers_that_were_kept_come_back_in_their_places() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let kept: Vec<_> = [((3, 20, 70), false), ((16, 33, 5), true)]
        .map(|((rank, inputs, outputs), short)| {
            super::weights(&mut rng, rank, inputs, outputs, short)
        })
        .into();
    let forms: Vec<_> = kept.iter().map(LowRank::form).collect();
    let numbers: Vec<u8> = kept.iter().flat_map(|one| one.numbers().to_vec()).collect();
    let fill = |memory: &mut [u8]| {
        memory.copy_from_slice(&numbers);
        Ok::<_, ()>(())
    };
    let size = numbers.len() as u64;
    let again = LowRank::restore(&forms, size, fill).unwrap().unwrap();
    for (again, kept) in again.iter().zip(&kept) {
        assert_eq!((again.a(), again.b()), (kept.a(), kept.b()));
        assert_eq!(again.form(), kept.form());
    }
    assert_eq!(LowRank::restore(&forms, size, |_| Err(7)).err(), Some(7));
    // The second is more memory than any machine has, which must not even be asked for.
    for rank in [0, 1 << 48, usize::MAX / 8] {
        let impossible = Form { rank, ..forms[0] };
        let restored = LowRank::restore(&[impossible], size, |_| Err(()));
        assert!(restored.is_ok_and(|made| made.is_none()));
    }
}

/// Adapters are kept on disk in this order.
#[cfg(target_endian = "little")]
#[test]
fn another_order_of_the_numbers_needs_another_number_for_it() {
    let (rank, inputs, outputs) = (9, 17, 70);
    let counted = |len: usize| bytes(&(0..len).map(|at| at as f32).collect::<Vec<_>>());
    let (a, b) = (counted(rank * inputs), counted(rank * outputs));
    let order = [Precision::Exact, Precision::Bf16].map(|precision| {
        let shape = (rank, inputs, outputs);
        let packed = pack(shape, Matrix::F32(&a), Matrix::F32(&b), precision);
        let hash = blake3::hash(packed.unwrap().numbers()).to_hex();
        hash[..16].to_owned()
    });
    assert_eq!(
        (LAYOUT, order),
        (
            2,
            ["5182db9415ee2375", "0ba2fdac14cd576c"].map(str::to_owned)
        )
    );
}
