//! The process of `askalf-agent`; the program is the library beside.

fn main() -> std::process::ExitCode {
    askalf_agent::main()
}
