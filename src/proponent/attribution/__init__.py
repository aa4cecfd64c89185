"""Running a method: candidates of hyper-parameters, averages over members, tuning."""
