//! The process of `askalf-bridge`; the program is the library beside.

fn main() -> std::process::ExitCode {
    askalf_bridge::main()
}
