module clients

go 1.21

require github.com/rqlite/gorqlite v0.0.0-20260504155303-50d445fd0ab9
