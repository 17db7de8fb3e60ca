//! What Jinja computes while it compiles, as far as it shows.

use super::ast::*;

/// A constant expression is computed beforehand, and a value in it that cannot be sliced gives an undefined one there
/// instead of failing. What it comes to must be a plain value; only where it is all that is printed, it may be undefined.
pub(super) fn fold(statement: &mut Kind) {
    match statement {
        Kind::Print(value) if is_const(value) => mark_slices(value),
        Kind::Print(value) | Kind::Set { value, .. } => within(value),
        Kind::SetBlock(set) => set.filter.iter_mut().for_each(within),
        Kind::If { arms, .. } => arms.iter_mut().for_each(|(test, _)| within(test)),
        Kind::Call { call, .. } => within(call),
        Kind::Filter { filter, .. } => within(filter),
        Kind::With { values, .. } => values.iter_mut().for_each(|(_, value)| within(value)),
        Kind::AutoEscape { on, .. } => within(on),
        _ => {}
    }
}

pub(super) fn within(expr: &mut Expr) {
    let holds_others = matches!(expr, Expr::Tuple(_) | Expr::List(_) | Expr::Dict(_));
    match is_const(expr) && !holds_others {
        true => below(expr),
        false => children(expr, &mut within),
    }
}

/// Marks the slices that the value of a constant expression is computed from, not those that it may be.
fn below(expr: &mut Expr) {
    match expr {
        Expr::And(pair) | Expr::Or(pair) => {
            below(&mut pair.0);
            below(&mut pair.1);
        }
        Expr::If(choice) => {
            mark_slices(&mut choice.test);
            below(&mut choice.then);
            choice.otherwise.iter_mut().for_each(below);
        }
        other => children(other, &mut mark_slices),
    }
}

fn mark_slices(expr: &mut Expr) {
    if let Expr::Slice(slice) = expr {
        slice.constant = true;
    }
    children(expr, &mut mark_slices);
}

/// Filters that ask for more than their arguments.
const OPEN: [&str; 6] = [
    "map",
    "random",
    "reject",
    "rejectattr",
    "select",
    "selectattr",
];

fn is_const(expr: &Expr) -> bool {
    let all = |of: &Expr, arguments: &Arguments| {
        is_const(of)
            && arguments.positional.iter().all(is_const)
            && arguments
                .named
                .iter()
                .all(|(_, argument)| is_const(argument))
            && arguments.starred.iter().all(is_const)
            && arguments.double_starred.iter().all(is_const)
    };
    match expr {
        Expr::Const(_) => true,
        Expr::Name { .. } | Expr::Call(_) | Expr::Captured => false,
        Expr::Tuple(items) | Expr::List(items) | Expr::Concat(items) => items.iter().all(is_const),
        Expr::Dict(entries) => entries.iter().all(|(k, v)| is_const(k) && is_const(v)),
        Expr::Not(of) | Expr::Sign { of, .. } | Expr::Attribute(of, _) => is_const(of),
        Expr::Binary(_, pair) | Expr::And(pair) | Expr::Or(pair) | Expr::Item(pair) => {
            is_const(&pair.0) && is_const(&pair.1)
        }
        Expr::Compare(first, rest) => is_const(first) && rest.iter().all(|(_, e)| is_const(e)),
        Expr::If(choice) => {
            is_const(&choice.test)
                && is_const(&choice.then)
                && choice.otherwise.iter().all(is_const)
        }
        Expr::Slice(slice) => {
            let bounds = [&slice.start, &slice.stop, &slice.step];
            is_const(&slice.of) && bounds.into_iter().flatten().all(is_const)
        }
        Expr::Filter(apply) => {
            apply.function.is_some()
                && !OPEN.contains(&&*apply.name)
                && all(&apply.of, &apply.arguments)
        }
        Expr::Check(apply) => apply.function.is_some() && all(&apply.of, &apply.arguments),
    }
}

fn children(expr: &mut Expr, see: &mut dyn FnMut(&mut Expr)) {
    let arguments = |of: &mut Arguments, see: &mut dyn FnMut(&mut Expr)| {
        of.positional.iter_mut().for_each(&mut *see);
        of.named.iter_mut().for_each(|(_, argument)| see(argument));
        of.starred.iter_mut().for_each(&mut *see);
        of.double_starred.iter_mut().for_each(see);
    };
    match expr {
        Expr::Const(_) | Expr::Name { .. } | Expr::Captured => {}
        Expr::Tuple(items) | Expr::List(items) | Expr::Concat(items) => {
            items.iter_mut().for_each(see);
        }
        Expr::Dict(entries) => entries.iter_mut().for_each(|(key, value)| {
            see(key);
            see(value);
        }),
        Expr::Not(of) | Expr::Sign { of, .. } | Expr::Attribute(of, _) => see(of),
        Expr::Binary(_, pair) | Expr::And(pair) | Expr::Or(pair) | Expr::Item(pair) => {
            see(&mut pair.0);
            see(&mut pair.1);
        }
        Expr::Compare(first, rest) => {
            see(first);
            rest.iter_mut().for_each(|(_, with)| see(with));
        }
        Expr::If(choice) => {
            see(&mut choice.test);
            see(&mut choice.then);
            choice.otherwise.iter_mut().for_each(see);
        }
        Expr::Slice(slice) => {
            see(&mut slice.of);
            let bounds = [&mut slice.start, &mut slice.stop, &mut slice.step];
            bounds.into_iter().flatten().for_each(see);
        }
        Expr::Call(call) => {
            see(&mut call.callee);
            arguments(&mut call.arguments, see);
        }
        Expr::Filter(apply) => {
            see(&mut apply.of);
            arguments(&mut apply.arguments, see);
        }
        Expr::Check(apply) => {
            see(&mut apply.of);
            arguments(&mut apply.arguments, see);
        }
    }
}
