use super::*;
use crate::kernels::activation::{Residual, SwiGlu};
use crate::kernels::linear::Linear;
use crate::kernels::norm::RmsNorm;
use crate::kernels::testing::noise;

fn parameters() -> Vec<Parameter> {
    let dims = [(6, 6), (6, 6), (1, 6)];
    let arrays = dims.into_iter().zip(1..);
    arrays
        .map(|(dims, seed)| Parameter::new(noise(dims, 0.7, seed)))
        .collect()
}

/// x + swiglu(norm(x)·Aᵀ, norm(x)·Bᵀ)
fn block(run: Run<'_, '_>, parameters: &[Parameter], x: &Value) -> Result<Value> {
    let [a, b, w] = [0, 1, 2].map(|at| run.parameter(&parameters[at]));
    let normed = run.op(RmsNorm { eps: 1e-5 }, &[x, &w])?;
    let (gate, up) = (
        run.op(Linear, &[&normed, &a])?,
        run.op(Linear, &[&normed, &b])?,
    );
    run.op(Residual, &[x, &run.op(SwiGlu, &[&gate, &up])?])
}

/// Two blocks with parameters of their own, then the first one's again.
fn forward(recompute: bool, learns: bool) -> (Vec<Option<Array>>, usize) {
    forward_in(None, recompute, learns)
}

fn forward_in(half: Option<Half>, recompute: bool, learns: bool) -> (Vec<Option<Array>>, usize) {
    let (first, second) = (parameters(), parameters());
    let x = Parameter::new(noise((4, 6), 1.0, 9));
    let tape = match recompute {
        true => Tape::recomputing(&Device::Host),
        false => Tape::new(&Device::Host),
    };
    let tape = tape.rounding(half);
    let run = tape.run();
    let mut y = match learns {
        true => run.parameter(&x),
        false => x.array().into(),
    };
    for own in [&first, &second, &first] {
        let own = own.clone();
        y = run.block(&y, move |run, x| block(run, &own, x)).unwrap();
    }
    let noted = tape.entries.borrow().len();
    let mut found = HashMap::new();
    let seed = noise(y.dims(), 1.0, 5);
    tape.backward(&y, seed, &mut found).unwrap();
    let all = first.iter().chain(&second).chain([&x]);
    let grads = all.map(|parameter| found.remove(&parameter.id())).collect();
    assert!(found.is_empty());
    (grads, noted)
}

#[test]
fn a_block_that_is_computed_again_gives_the_same_gradients_and_notes_less() {
    for learns in [true, false] {
        let (kept, many) = forward(false, learns);
        let (again, few) = forward(true, learns);
        assert_eq!(few, 3 + usize::from(learns));
        assert!(many > 3 * few);
        assert_eq!(kept[6].is_some(), learns);
        for (kept, again) in kept.iter().zip(&again) {
            let (Some(kept), Some(again)) = (kept, again) else {
                assert!(kept.is_none() && again.is_none());
                continue;
            };
            for (kept, again) in kept.values().iter().zip(again.values()) {
                // Parts of one sum come in another order.
                assert!((kept - again).abs() <= 1e-6 * kept.abs().max(1.0));
            }
        }
    }
}

#[test]
fn a_block_in_which_nothing_learns_is_not_noted() {
    let own = parameters();
    let tape = Tape::recomputing(&Device::Host);
    let mut y = Value::from(noise((4, 6), 1.0, 9));
    for _ in 0..3 {
        y = tape
            .run()
            .block(&y, |run, x| run.op(Residual, &[x, x]))
            .unwrap();
    }
    assert!(!y.is_recorded() && tape.entries.borrow().is_empty());
    y = tape.run().block(&y, |run, x| block(run, &own, x)).unwrap();
    assert!(y.is_recorded());
    assert_eq!(tape.entries.borrow().len(), 1);
}

#[test]
fn an_operation_that_loses_a_gradient_is_named() {
    struct Lost;
    impl Op for Lost {
        type Saved = ();
        fn forward(&self, inputs: &[&Array], _: Wants) -> Result<(Array, ())> {
            Ok((inputs[0].clone(), ()))
        }
        fn backward(&self, (): (), _: Array, _: Wants) -> Result<Vec<Option<Array>>> {
            Ok(vec![None])
        }
    }
    let tape = Tape::new(&Device::Host);
    let x = tape.run().parameter(&Parameter::new(noise((2, 3), 1.0, 2)));
    let y = tape.run().op(Lost, &[&x]).unwrap();
    let lost = tape.backward(&y, Array::zeros((2, 3)), &mut HashMap::new());
    assert!(lost.unwrap_err().to_string().contains("Lost"));
}

#[test]
fn what_depends_on_nothing_that_learns_is_not_recorded() {
    let tape = Tape::new(&Device::Host);
    let x = Value::from(noise((2, 3), 1.0, 1));
    let y = tape.run().op(Residual, &[&x, &x]).unwrap();
    assert!(!y.is_recorded() && tape.entries.borrow().is_empty());
    let mut found = HashMap::new();
    tape.backward(&y, Array::zeros((2, 3)), &mut found).unwrap();
    assert!(found.is_empty());
    let learns = Parameter::new(noise((2, 3), 1.0, 2));
    let sum = Run::host().op(Residual, &[&x, &Run::host().parameter(&learns)]);
    assert!(!sum.unwrap().is_recorded());
}

#[test]
fn a_gradient_of_other_sizes_is_refused() {
    let tape = Tape::new(&Device::Host);
    let x = tape.run().parameter(&Parameter::new(noise((2, 3), 1.0, 2)));
    let wrong = Array::zeros((3, 2));
    assert!(tape.backward(&x, wrong, &mut HashMap::new()).is_err());
}

#[test]
fn a_gradient_reaches_its_sink_before_earlier_blocks_are_walked() {
    struct Order(Vec<ParameterId>);
    impl Sink for Order {
        fn take(&mut self, parameter: ParameterId, _: Array) -> Result<()> {
            self.0.push(parameter);
            Ok(())
        }
    }
    let blocks = [parameters(), parameters()];
    let tape = Tape::new(&Device::Host);
    let mut y = Value::from(noise((4, 6), 1.0, 9));
    for own in &blocks {
        y = block(tape.run(), own, &y).unwrap();
    }
    let mut order = Order(Vec::new());
    let seed = noise(y.dims(), 1.0, 5);
    tape.backward(&y, seed, &mut order).unwrap();
    let of = |block: &[Parameter]| -> Vec<usize> {
        let places = block
            .iter()
            .map(|p| order.0.iter().position(|id| *id == p.id()));
        places.map(Option::unwrap).collect()
    };
    assert!(of(&blocks[1]).iter().max() < of(&blocks[0]).iter().min());
}

#[test]
fn a_parameter_changes_in_place_and_clones_are_the_same_one() {
    let parameter = Parameter::new(Array::row(vec![1.0, 2.0]));
    let (same, before) = (parameter.clone(), parameter.array());
    parameter.update(|values| values[0] = 5.0);
    assert_eq!(same.array().values(), [5.0, 2.0]);
    assert_eq!(before.values(), [1.0, 2.0]);
    assert_eq!(same.id(), parameter.id());
}

#[test]
fn gradients_in_16_bits_are_near_those_in_32_and_the_same_where_blocks_are_computed_again() {
    let numbers = |grads: Vec<Option<Array>>| -> Vec<f32> {
        let grads = grads.into_iter().flatten();
        grads.flat_map(Array::into_values).collect()
    };
    let wanted = numbers(forward(false, true).0);
    for (half, tolerance) in [(Half::Bf16, 3e-2), (Half::F16, 4e-3)] {
        let [kept, again] = [false, true].map(|again| forward_in(Some(half), again, true).0);
        let found = numbers(kept);
        assert_eq!(found, numbers(again), "{half:?}");
        assert_ne!(found, wanted, "{half:?}");
        let off = { found.iter().zip(&wanted) }.map(|(found, wanted)| (found - wanted).powi(2));
        let length: f32 = wanted.iter().map(|wanted| wanted * wanted).sum();
        let off = (off.sum::<f32>() / length).sqrt();
        assert!(off < tolerance, "{half:?}: {off}");
    }
}

/// Notes what it is given to hold and to work on.
struct Watching<'s>(&'s RefCell<Vec<u64>>);

impl Op for Watching<'_> {
    type Saved = [Array; 2];

    fn forward(&self, inputs: &[&Array], _: Wants) -> Result<(Array, Self::Saved)> {
        let y = Array::new(vec![1.000_1; inputs[0].len()], inputs[0].dims())?;
        Ok((y.clone(), [inputs[0].clone(), y]))
    }

    fn backward(&self, [x, y]: Self::Saved, grad: Array, _: Wants) -> Result<Vec<Option<Array>>> {
        assert_eq!((x.half(), x.len()), (y.half(), x.values().len()));
        assert_eq!(y.values()[0], 1.0, "as others saw it");
        assert_eq!(grad.half(), Some(Half::F16));
        self.0.borrow_mut().push(x.bytes() + y.bytes());
        Ok(vec![Some(grad)])
    }
}

#[test]
fn what_an_operation_saves_is_held_in_16_bits_and_given_back_in_32() {
    let seen = RefCell::new(Vec::new());
    let tape = Tape::new(&Device::Host).rounding(Some(Half::F16));
    let run = tape.run();
    let x = run.parameter(&Parameter::new(noise((3, 4), 1.0, 1)));
    let first = run.op(Residual, &[&x, &x]).unwrap();
    assert_eq!(first.half(), Some(Half::F16));
    let y = run.op(Watching(&seen), &[&first]).unwrap();
    let seed = Array::new(vec![0.1; 12], (3, 4)).unwrap();
    tape.backward(&y, seed, &mut HashMap::new()).unwrap();
    assert_eq!(*seen.borrow(), [2 * 12 * 4]);
}
