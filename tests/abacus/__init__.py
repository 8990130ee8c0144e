# A package, because pytest tells modules without one apart by their last name alone, and there is
# a tests/test_questions.py too.
