//! One executable, several names: acts by the name it is called by, or by its first word.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
