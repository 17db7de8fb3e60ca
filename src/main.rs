use std::process::ExitCode;

fn main() -> ExitCode {
    adapterd::app::main()
}
