//! Macros, and the bodies of call blocks, which are macros too.

use std::rc::Rc;
use std::sync::Arc;

use super::args::Args;
use super::ast;
use super::fault::{Outcome, failed};
use super::machine::{Activation, Machine};
use super::value::{Str, Value};

pub(in crate::text) struct Macro {
    pub declared: Arc<ast::Macro>,
    /// Where it was declared, whose variables it sees as they are when it is called.
    pub closure: Rc<Activation>,
}

impl Macro {
    pub fn attribute(&self, name: &str) -> Outcome<Option<Value>> {
        let declared = &self.declared;
        Ok(Some(match name {
            "name" => match &declared.name {
                Some(name) => Value::str(name.clone()),
                None => Value::None,
            },
            "arguments" => {
                let names = declared.parameters.iter();
                Value::tuple(names.map(|p| Value::str(p.name.clone())).collect())?
            }
            "catch_kwargs" => Value::Bool(declared.kwargs.is_some()),
            "catch_varargs" => Value::Bool(declared.varargs.is_some()),
            "caller" => Value::Bool(declared.accesses_caller),
            "explicit_caller" => Value::Bool(declared.names_caller()),
            _ => return Ok(None),
        }))
    }

    pub fn call(&self, m: &Machine<'_>, args: Args) -> Outcome<Value> {
        m.budget.deeper()?;
        m.budget.spend(1)?;
        let declared = &self.declared;
        let activation = Activation::new(declared.slots, Some(self.closure.clone()));
        self.bind(m, &activation, args)?;
        let mut out = String::new();
        m.enter(&declared.loads, &activation)?;
        // A default may tell of the parameters before it.
        for parameter in &declared.parameters {
            if activation.get(parameter.slot).is_some() {
                continue;
            }
            let value = match &parameter.default {
                Some(default) => m.evaluate(default, &activation)?,
                None => {
                    Value::undefined(format!("parameter '{}' was not provided", parameter.name))
                }
            };
            activation.set(parameter.slot, value);
        }
        m.run(&declared.body, &activation, &mut out)?;
        m.budget.text(out.len())?;
        Ok(match m.escaping() {
            true => Value::Str(Str::markup(out)),
            false => Value::str(out),
        })
    }

    fn bind(&self, m: &Machine<'_>, activation: &Rc<Activation>, mut args: Args) -> Outcome<()> {
        let declared = &self.declared;
        let name = declared.name.as_deref().unwrap_or("caller");
        let most = declared.parameters.len();
        let mut found_caller = args.positional.len() >= most && declared.names_caller();
        let rest = args.positional.split_off(args.positional.len().min(most));
        let mut given = args.positional.drain(..).collect::<Vec<_>>().into_iter();
        for parameter in &declared.parameters {
            let value = match given.next() {
                Some(value) => Some(value),
                None => {
                    found_caller |= &*parameter.name == "caller";
                    args.take_named(&parameter.name)
                }
            };
            if let Some(value) = value {
                activation.set(parameter.slot, value);
            }
        }
        if declared.accesses_caller && !found_caller {
            let caller = match args.take_named("caller") {
                None | Some(Value::None) => Value::undefined("No caller defined"),
                Some(caller) => caller,
            };
            if let Some(slot) = declared.caller {
                activation.set(slot, caller);
            }
        }
        match declared.kwargs {
            Some(slot) => {
                let mut named = super::dict::Dict::default();
                for (name, value) in args.named {
                    named.insert(Value::str(name), value)?;
                }
                activation.set(slot, Value::dict(named));
            }
            None => {
                if let Some((given, _)) = args.named.first() {
                    return Err(failed(match &**given {
                        "caller" => format!(
                            "macro '{name}' was invoked with two values for the special caller argument. This is most likely a bug."
                        ),
                        given => format!("macro '{name}' takes no keyword argument '{given}'"),
                    }));
                }
            }
        }
        match declared.varargs {
            Some(slot) => {
                m.budget.items(rest.len())?;
                activation.set(slot, Value::tuple(rest)?);
            }
            None if !rest.is_empty() => {
                return Err(failed(format!(
                    "macro '{name}' takes not more than {most} argument(s)"
                )));
            }
            None => {}
        }
        Ok(())
    }
}
