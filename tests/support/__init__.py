"""What tests share: waiting and time. Here alone a test module finds `time.sleep` and the clocks."""
