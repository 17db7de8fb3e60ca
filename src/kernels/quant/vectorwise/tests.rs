use super::super::super::testing::numbers;
use super::*;

const SHAPE: (usize, usize) = (37, 67);
const THRESHOLD: f32 = 6.0;

fn weight(w: &[f32], threshold: f32) -> Vectorwise {
    let k = SHAPE.1;
    let rows = |rows: Range<usize>| {
        Ok::<_, crate::device::Error>(w[rows.start * k..rows.end * k].to_vec())
    };
    Vectorwise::pack(SHAPE, threshold, rows).unwrap()
}

/// Rows of x, every other with features far from the rest, each at places of its own.
fn rows(m: usize) -> Vec<f32> {
    let k = SHAPE.1;
    let mut x = numbers(m * k, 2.0, 5);
    for row in (0..m).step_by(2) {
        x[row * k + (row * 7 + 3) % k] = 40.0 + row as f32;
        x[row * k + (row * 11 + 30) % k] = -6.0;
    }
    x
}

/// The published method on a whole batch, in plain numbers: a column with an outlier in any row is multiplied as it is;
/// of the rest, rows of x and rows of W are whole numbers under their largest value.
fn published(x: &[f32], w: &[f32], threshold: f32) -> Vec<f64> {
    let (n, k) = SHAPE;
    let m = x.len() / k;
    let far: Vec<bool> = (0..k)
        .map(|i| (0..m).any(|row| x[row * k + i].abs() >= threshold))
        .collect();
    let largest = |row: &[f32], skip: &[bool]| {
        let kept = row.iter().zip(skip).filter(|(_, skip)| !**skip);
        kept.fold(0f32, |top, (x, _)| top.max(x.abs()))
    };
    let mut y = Vec::new();
    for x in x.chunks_exact(k) {
        let of_x = largest(x, &far);
        for w in w.chunks_exact(k) {
            let of_w = largest(w, &[false; 67]);
            let code = |w: f32| f64::from((w * (127.0 / of_w)).round_ties_even());
            let (mut whole, mut plain) = (0.0, 0.0);
            for i in 0..k {
                match far[i] {
                    true => plain += f64::from(x[i]) * code(w[i]) * f64::from(of_w) / 127.0,
                    false => {
                        whole += f64::from((x[i] * (127.0 / of_x)).round_ties_even()) * code(w[i])
                    }
                }
            }
            y.push(whole * f64::from(of_x) * f64::from(of_w) / (127.0 * 127.0) + plain);
        }
    }
    assert_eq!(y.len(), m * n);
    y
}

/// x·Wᵀ by one unit, in pieces of two tiles.
fn product(weight: &Vectorwise, unit: Unit, x: &[f32]) -> Vec<f32> {
    let (m, n) = (x.len() / weight.k, SHAPE.0);
    let rows = Rows::of(x, weight.k, m, weight.threshold);
    let mut y = vec![std::mem::MaybeUninit::new(f32::NAN); m * n];
    let (out, tiles) = (Output::new(&mut y, m, n, None), n.div_ceil(LANES));
    for start in (0..tiles).step_by(2) {
        weight.tiles_with(unit, start..(start + 2).min(tiles), &rows, &out);
    }
    // SAFETY: numbers from the start.
    y.into_iter().map(|y| unsafe { y.assume_init() }).collect()
}

fn assert_near(found: &[f32], wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len());
    for (at, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let off = (f64::from(*found) - wanted).abs();
        assert!(
            off <= tolerance * wanted.abs().max(1.0),
            "{at}: {found}, not {wanted}"
        );
    }
}

#[test]
fn every_row_is_what_the_published_method_makes_of_it_alone_on_every_unit() {
    let (n, k) = SHAPE;
    let w = numbers(n * k, 0.5, 1);
    for threshold in [THRESHOLD, 1.5, 1e9] {
        let weight = weight(&w, threshold);
        for m in [1, 2, 5, 8, 13] {
            let x = rows(m);
            let wanted: Vec<f64> = x
                .chunks_exact(k)
                .flat_map(|row| published(row, &w, threshold))
                .collect();
            for unit in Unit::available() {
                let y = product(&weight, unit, &x);
                assert_near(&y, &wanted, 1e-5);
            }
        }
    }
}

#[test]
fn a_batch_whose_rows_share_their_outliers_is_the_published_one() {
    let (n, k) = SHAPE;
    let w = numbers(n * k, 0.5, 1);
    let mut x = numbers(6 * k, 2.0, 5);
    for row in x.chunks_exact_mut(k) {
        (row[9], row[40]) = (9.0, -30.0);
    }
    let y = product(&weight(&w, THRESHOLD), Unit::best(), &x);
    assert_near(&y, &published(&x, &w, THRESHOLD), 1e-5);
}

#[test]
fn a_row_is_the_same_bit_for_bit_in_any_batch() {
    let (n, k) = SHAPE;
    let weight = weight(&numbers(n * k, 0.5, 1), THRESHOLD);
    let x = rows(13);
    let all = product(&weight, Unit::best(), &x);
    for (row, wanted) in x.chunks_exact(k).zip(all.chunks_exact(n)) {
        assert_eq!(product(&weight, Unit::best(), row), wanted);
    }
}

#[test]
fn outliers_kept_whole_save_the_precision_of_the_rest() {
    let (n, k) = SHAPE;
    let w = numbers(n * k, 0.5, 1);
    let mut x = numbers(k, 1.0, 2);
    x[20] = 500.0;
    let exact = |row: &[f32]| {
        row.iter()
            .zip(&x)
            .map(|(w, x)| f64::from(w * x))
            .sum::<f64>()
    };
    let off = |threshold: f32| {
        let packed = weight(&w, threshold);
        let (y, mut held) = (product(&packed, Unit::best(), &x), vec![0.0; n * k]);
        packed.unpack(0..n, &mut held).unwrap();
        let off = y
            .iter()
            .zip(held.chunks_exact(k))
            .map(|(y, row)| (f64::from(*y) - exact(row)).abs());
        off.fold(0.0, f64::max)
    };
    assert!(off(THRESHOLD) < 0.1, "{}", off(THRESHOLD));
    assert!(
        off(0.0) > 1.0,
        "without a threshold one feature takes all of the scale: {}",
        off(0.0)
    );
}

#[test]
fn rows_come_back_within_half_a_step() {
    let (n, k) = SHAPE;
    let mut w = numbers(n * k, 0.5, 1);
    w[k..2 * k].fill(0.0);
    let packed = weight(&w, THRESHOLD);
    let mut held = vec![1.0; n * k];
    packed.unpack(0..n, &mut held).unwrap();
    for (row, (w, held)) in w.chunks_exact(k).zip(held.chunks_exact(k)).enumerate() {
        let step = w.iter().fold(0f32, |top, w| top.max(w.abs())) / 127.0;
        let near = w
            .iter()
            .zip(held)
            .all(|(w, held)| (w - held).abs() <= 0.501 * step);
        assert!(near, "row {row}");
    }
    assert_eq!(packed.bytes(), (48 * 68 + 4 * 48) as u64);
}

#[test]
fn what_is_no_number_reaches_every_output_of_its_row_and_no_other() {
    let (n, k) = SHAPE;
    for threshold in [0.0, THRESHOLD] {
        let weight = weight(&numbers(n * k, 0.5, 1), threshold);
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = numbers(2 * k, 1.0, 2);
            x[3] = bad;
            let y = product(&weight, Unit::best(), &x);
            assert!(y[..n].iter().filter(|y| !y.is_finite()).count() >= n - 1);
            assert!(y[n..].iter().all(|y| y.is_finite()));
        }
    }
}

#[test]
fn rows_too_long_for_whole_sums_are_refused() {
    let rows = |_: Range<usize>| Ok::<_, crate::device::Error>(Vec::new());
    assert!(Vectorwise::pack((1, MOST_INPUTS + 1), THRESHOLD, rows).is_err());
}
