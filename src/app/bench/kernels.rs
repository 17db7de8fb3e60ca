//! `bench kernels`: products with frozen weights, and attention over cached keys and values, at sizes that serving has.

use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::attention::{self, AttentionArgs};
use super::numbers::Numbers;
use crate::cli::{Failure, Output, Table};
use crate::device::{self, Array};
use crate::kernels::pool;
use crate::kernels::quant::{Format, Matrix};

/// Values of a weight: it takes 4 GiB as f32 while it is made.
const MOST_VALUES: u64 = 1 << 30;
/// Bytes of weights that are read in turn: more than the caches hold, as in a model.
const WORKING_SET: u64 = 256 << 20;

#[derive(Debug, Clone, clap::Args)]
pub struct KernelsArgs {
    /// What to measure
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "products,attention"
    )]
    what: Vec<What>,
    /// Formats of weights, by name
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "q8_0,q6_k,q4_k,q4_0"
    )]
    formats: Vec<String>,
    /// Rows of x in one product
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,2,4,8,64,512",
          value_parser = clap::value_parser!(u16).range(1..=4096))]
    rows: Vec<u16>,
    /// Outputs of the weight
    #[arg(long, default_value_t = 4864, value_parser = clap::value_parser!(u32).range(16..))]
    outputs: u32,
    /// Inputs of the weight, a multiple of 256
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(256..))]
    inputs: u32,
    /// Measured passes over the working set, after one that does not count
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Compute threads [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    #[command(flatten)]
    attention: AttentionArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    Products,
    Attention,
}

pub fn run(args: &KernelsArgs, output: Output) -> Result<(), Failure> {
    if let Some(threads) = args.threads {
        pool::configure(usize::from(threads));
    }
    if u64::from(args.outputs) * u64::from(args.inputs) > MOST_VALUES {
        return Err(Failure::Usage(format!(
            "--outputs {} by --inputs {} is a weight of more than {MOST_VALUES} values",
            args.outputs, args.inputs
        )));
    }
    let formats: Vec<Format> = args
        .formats
        .iter()
        .map(|name| known(name))
        .collect::<Result<_, _>>()?;
    args.attention.check().map_err(Failure::Usage)?;
    let asked = |what| args.what.contains(&what);
    let mut rows = Vec::new();
    for format in formats.into_iter().filter(|_| asked(What::Products)) {
        let weights = weights(args, format).map_err(Failure::failed)?;
        for &count in &args.rows {
            rows.push(
                measure(args, &weights, format, usize::from(count)).map_err(Failure::failed)?,
            );
        }
    }
    let attention = match asked(What::Attention) {
        true => attention::measure(&args.attention, args.runs).map_err(Failure::failed)?,
        false => Vec::new(),
    };
    let report = json!({
        "outputs": args.outputs, "inputs": args.inputs, "threads": pool::threads(), "runs": args.runs, "products": rows,
        "attention": attention,
    });
    output.show(&report, as_text)
}

fn known(name: &str) -> Result<Format, Failure> {
    Format::from_name(name).ok_or_else(|| {
        let known: Vec<_> = Format::all().map(Format::name).collect();
        Failure::Usage(format!(
            "--formats: `{name}` is none of {}",
            known.join(", ")
        ))
    })
}

/// Copies of one weight, each at its own place in memory.
fn weights(args: &KernelsArgs, format: Format) -> device::Result<Vec<Matrix>> {
    let (n, k) = (args.outputs as usize, args.inputs as usize);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let values = (0..n * k).map(|_| rng.random_range(-0.05..0.05f32));
    let dense = Array::new(values.collect(), (n, k))?;
    let first = Matrix::quantize(&dense, format)?;
    let copies = (WORKING_SET / first.bytes().max(1)).max(1);
    let mut all = vec![first];
    for _ in 1..copies {
        all.push(Matrix::quantize(&dense, format)?);
    }
    Ok(all)
}

fn measure(
    args: &KernelsArgs,
    weights: &[Matrix],
    format: Format,
    rows: usize,
) -> device::Result<Value> {
    let k = args.inputs as usize;
    let x = (0..rows * k).map(|i| (i as f32 * 0.37).sin());
    let x = Array::new(x.collect(), (rows, k))?;
    let bytes: u64 = weights.iter().map(Matrix::bytes).sum();
    let mut seconds = Vec::new();
    for counted in 0..=args.runs {
        let began = Instant::now();
        for weight in weights {
            weight.forward(&x)?;
        }
        if counted > 0 {
            seconds.push(began.elapsed().as_secs_f64());
        }
    }
    let seconds = Numbers::of(seconds).median().max(1e-9);
    let work = weights.len() as f64 * f64::from(args.outputs) * k as f64 * rows as f64;
    Ok(json!({
        "format": format.name(), "rows": rows, "microseconds": seconds / weights.len() as f64 * 1e6,
        "gigabytes_per_second": bytes as f64 / seconds / 1e9, "gigamacs_per_second": work / seconds / 1e9,
    }))
}

fn as_text(report: &Value) -> String {
    let mut text = format!(
        "{} threads; medians of {} passes\n",
        report["threads"], report["runs"]
    );
    let given = |part: &str| report[part].as_array().is_some_and(|part| !part.is_empty());
    if given("products") {
        text += &products_as_text(report);
    }
    if given("attention") {
        text += &attention::as_text(&report["attention"]);
    }
    text
}

fn products_as_text(report: &Value) -> String {
    let mut table = Table::new(&["FORMAT", "ROWS", "TIME", "WEIGHT GB/S", "GMAC/S"]);
    for product in report["products"].as_array().into_iter().flatten() {
        let number = |field: &str| product[field].as_f64().unwrap_or(0.0);
        table.row(vec![
            product["format"].as_str().unwrap_or_default().to_owned(),
            product["rows"].to_string(),
            format!("{:.0} µs", number("microseconds")),
            format!("{:.1}", number("gigabytes_per_second")),
            format!("{:.0}", number("gigamacs_per_second")),
        ]);
    }
    format!(
        "\ny = x·Wᵀ, W [{}, {}], weights from memory\n\n{}",
        report["outputs"],
        report["inputs"],
        table.render()
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: KernelsArgs,
    }

    #[test]
    fn a_weight_that_no_memory_holds_is_refused_before_it_is_made() {
        let most = u32::MAX.to_string();
        for (outputs, inputs) in [(&*most, &*most), ("1048577", "1024")] {
            let line = Line::parse_from(["x", "--outputs", outputs, "--inputs", inputs]);
            let refused = run(&line.args, Output::new(true));
            assert!(matches!(refused, Err(Failure::Usage(why)) if why.contains("--outputs")));
        }
    }
}
