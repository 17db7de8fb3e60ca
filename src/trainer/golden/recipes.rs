//! An `adapter_config.json` is read twice: by the adapter layer, with the weights it came with, and as a recipe.

use super::*;
use crate::domain::Named;
use crate::domain::recipes::Recipes;

/// A job that continues an adapter refuses wishes that are not of its shape.
#[test]
fn a_configuration_as_a_recipe_is_of_the_shape_of_its_adapter() {
    let base = base("llama");
    let mut compared = 0;
    for entry in std::fs::read_dir(golden("adapters")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let at = format!("adapters/{name}");
        if !name.starts_with("llama-") {
            continue;
        }
        let text = std::fs::read_to_string(golden(&at).join(peft::CONFIG_FILE)).unwrap();
        let mut recipes = Recipes::default();
        recipes.put_text("peft_config", &text).unwrap();
        // What is served and not trained is refused.
        let Ok(joined) = recipes.join(Wishes::default()) else {
            continue;
        };
        let parent = adapter(&base, &folder(&at));
        let recipe = settle(&joined.wishes, Some(&parent), &base);
        let recipe = recipe.unwrap_or_else(|reason| panic!("{name}: {reason}"));
        assert_eq!(recipe.method.name(), parent.kind(), "{name}");
        compared += 1;
    }
    assert!(compared > 12, "{compared}");
}
