// The one place where Boost.JSON's sources are compiled into the lab.
#include <boost/json/src.hpp>
