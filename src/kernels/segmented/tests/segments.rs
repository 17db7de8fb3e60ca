//! Which rows segments may name, and in which order.

use super::*;

#[test]
fn segments_over_the_same_rows_add_up_in_their_order_on_any_tier_and_in_any_batch() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let (inputs, outputs, rows) = (40, 50, 70);
    let members: Vec<LowRank> = [3, 8, 17]
        .into_iter()
        .zip([0.7, -0.2, 1.5])
        .map(|(rank, weight)| weights(&mut rng, rank, inputs, outputs, false).weighted(weight))
        .collect();
    let (x, y) = (
        numbers(&mut rng, rows * inputs),
        numbers(&mut rng, rows * outputs),
    );
    let add = |tier, rows: Range<usize>, y: &[f32]| {
        let mut y = y.to_vec();
        let segments: Vec<_> = members
            .iter()
            .map(|weights| Segment {
                rows: rows.clone(),
                weights,
            })
            .collect();
        let x = Rows {
            data: &x,
            stride: inputs,
        };
        let data = &mut y;
        let stride = outputs;
        add_to(tier, x, RowsMut { data, stride }, &segments).unwrap();
        y
    };
    for tier in tiers() {
        let all = add(tier, 0..rows, &y);
        for row in 0..rows {
            let place = row * outputs..(row + 1) * outputs;
            let mut want = y[place.clone()].to_vec();
            for member in &members {
                let x = &x[row * inputs..][..inputs];
                let sums = expected(x, &want, member).into_iter();
                want = sums.map(|(sum, _)| sum).collect();
            }
            for (want, got) in want.iter().zip(&all[place.clone()]) {
                assert!((want - got).abs() <= 1e-4 * (1.0 + want.abs()), "{tier:?}");
            }
            let alone = add(tier, row..row + 1, &y);
            assert_eq!(alone[place.clone()], all[place], "{tier:?}: row {row}");
        }
    }
}

#[test]
fn segments_outside_the_batch_or_out_of_order_are_refused_before_anything_changes() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let weights = weights(&mut rng, 2, 8, 8, false);
    let x = vec![1f32; 4 * 8];
    let out_of_order = [
        [0..5, 5..5],
        [2..4, 0..1],
        [0..2, 1..3],
        [0..usize::MAX, 0..0],
    ];
    for ranges in out_of_order {
        let mut y = vec![0f32; 4 * 8];
        let segments: Vec<_> = ranges
            .into_iter()
            .map(|rows| Segment {
                rows,
                weights: &weights,
            })
            .collect();
        assert!(
            lora(
                Rows {
                    data: &x,
                    stride: 8
                },
                RowsMut {
                    data: &mut y,
                    stride: 8
                },
                &segments
            )
            .is_err()
        );
        assert!(y.iter().all(|value| *value == 0.0));
    }
}
